#!/bin/sh
# Installs, by apt and as root, the servers and senders that the tests run:
# only what is missing, starting nothing. What cannot be had is said, and left
# to the tests to skip. Run it in the root of the checkout.
#
# Exim and OpenSMTPD cannot be installed beside Postfix, since each package is
# the machine's one mail-transport-agent. They are unpacked under
# build/servers, with their libraries installed.
set -u
packages="gcc libc6-dev faketime qemu-user e2fsprogs mount util-linux mariadb-server galera-4 rsync redis-server nginx libnginx-mod-mail haproxy prometheus chromium postfix swaks libio-socket-ssl-perl
	libnet-ssleay-perl msmtp curl python3 python3-redis python3-flask php-cli nodejs node-nodemailer openssl procps
	mmdebstrap systemd-container mandoc man-db debhelper lintian dpkg-dev fakeroot qemu-user-static"
unpacked="exim:exim4-daemon-light:usr/sbin/exim4 opensmtpd:opensmtpd:usr/sbin/smtpd"
policy=/usr/sbin/policy-rc.d
saved=$policy.before-goguerrillad-tests
export DEBIAN_FRONTEND=noninteractive

say() { echo "install.sh: $*" >&2; }

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed$'; }

missing() { # of the packages in the arguments
	for package; do
		installed "$package" || printf '%s ' "$package"
	done
}

# The packages that an unpacked one needs at run time, its libraries: taken
# from the package, because their names change with the release.
libraries() {
	dpkg-deb -f "$1" Depends | tr ',' '\n' | sed 's/[|(].*//' | tr -d ' ' |
		grep -E '^(lib|zlib)' | grep -v debconf
}

# invoke-rc.d asks policy-rc.d before it starts a service: 101 is no. A run
# that was killed may have left ours there; an earlier one is kept either way.
mark="# for the time of goguerrillad's make test"
deny_services() {
	[ ! -e "$policy" ] || grep -qxF "$mark" "$policy" || mv "$policy" "$saved"
	printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
	chmod 755 "$policy"
}

restore_policy() {
	rm -f "$policy"
	[ ! -e "$saved" ] || mv "$saved" "$policy"
}

updated=
update() { # once, and only when something is to be fetched
	[ -z "$updated" ] || return 0
	updated=yes
	apt-get -q update || say "apt-get update failed"
}

# --no-remove: a developer's own mail server is worth more than a test.
apt_install() {
	update
	apt-get -q -y --no-install-recommends --no-remove install "$@" && return
	for package; do
		apt-get -q -y --no-install-recommends --no-remove install "$package" ||
			say "cannot install $package: its tests will be skipped"
	done
}

unpack() { # $1: directory under build/servers, $2: package, $3: its program
	[ ! -x "build/servers/$1/$3" ] || return 0
	update
	rm -rf "build/servers/$1" build/servers/download
	mkdir -p "build/servers/$1" build/servers/download
	if (cd build/servers/download && apt-get -q -o APT::Sandbox::User=root download "$2") &&
		lacking=$(missing $(libraries build/servers/download/"$2"_*.deb)) &&
		{ [ -z "$lacking" ] || apt_install $lacking; } &&
		dpkg-deb -x build/servers/download/"$2"_*.deb "build/servers/$1"; then
		:
	else
		say "cannot unpack $2: its tests will be skipped"
		rm -rf "build/servers/$1"
	fi
	rm -rf build/servers/download
}

wanted=$(missing $packages)
for server in $unpacked; do
	IFS=: read -r name package program <<-END
		$server
	END
	[ -x "build/servers/$name/$program" ] || wanted="$wanted$package "
done
[ -n "$wanted" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
	say "this is no Debian; the tests that need one of these are skipped where it is missing: $wanted"
	exit 0
elif [ "$(id -u)" -ne 0 ]; then
	say "not root; the tests that need one of these are skipped: $wanted"
	exit 0
fi

deny_services
trap restore_policy EXIT
trap 'exit 1' INT TERM HUP
wanted=$(missing $packages)
[ -z "$wanted" ] || apt_install $wanted
for server in $unpacked; do
	IFS=: read -r name package program <<-END
		$server
	END
	unpack "$name" "$package" "$program"
done
exit 0
