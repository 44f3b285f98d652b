#!/bin/sh
# Installs the missing servers and senders of the tests by apt, as root, and starts
# none of them. It reports what cannot be installed; the tests that need it are
# skipped. Run it in the root of the checkout.
#
# Exim and OpenSMTPD conflict with Postfix, since each package is a
# mail-transport-agent. They are unpacked in build/servers, and their libraries
# are installed.
set -u
packages="gcc libc6-dev faketime qemu-user e2fsprogs mount util-linux mariadb-server galera-4 rsync postgresql pgbouncer redis-server nginx libnginx-mod-mail haproxy prometheus rspamd unbound chromium
	postfix swaks libio-socket-ssl-perl libnet-ssleay-perl msmtp curl python3 sqlite3 python3-redis python3-pymysql python3-psycopg2 python3-dkim python3-flask php-cli php-mysql php-pgsql php-sqlite3 nodejs node-nodemailer openssl procps
	mmdebstrap systemd-container mandoc man-db debhelper lintian dpkg-dev fakeroot qemu-user-static"
unpacked="exim:exim4-daemon-light:usr/sbin/exim4 opensmtpd:opensmtpd:usr/sbin/smtpd"
policy=/usr/sbin/policy-rc.d
saved=$policy.before-goguerrillad-tests
no_cluster=/etc/postgresql-common/createcluster.d/goguerrillad-tests.conf
export DEBIAN_FRONTEND=noninteractive

say() { echo "install.sh: $*" >&2; }

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed$'; }

missing() { # of the packages in the arguments
	for package; do
		installed "$package" || printf '%s ' "$package"
	done
}

# The libraries that an unpacked package needs. The package has their names, which
# differ between releases.
libraries() {
	dpkg-deb -f "$1" Depends | tr ',' '\n' | sed 's/[|(].*//' | tr -d ' ' |
		grep -E '^(lib|zlib)' | grep -v debconf
}

# invoke-rc.d runs policy-rc.d before it starts a service; status 101 prevents the
# start. A killed run may have left our file; another file is restored.
mark="# for the time of goguerrillad's make test"
deny_services() {
	[ ! -e "$policy" ] || grep -qxF "$mark" "$policy" || mv "$policy" "$saved"
	printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
	chmod 755 "$policy"
}

# The package postgresql would make a cluster in /var/lib, which the next boot starts.
deny_cluster() {
	mkdir -p "${no_cluster%/*}"
	echo 'create_main_cluster = false' >"$no_cluster"
}

restore_policy() {
	rm -f "$policy" "$no_cluster"
	[ ! -e "$saved" ] || mv "$saved" "$policy"
}

updated=
update() { # once, and only before a download
	[ -z "$updated" ] || return 0
	updated=yes
	apt-get -q update || say "apt-get update failed"
}

# --no-remove: never remove a mail server of the developer.
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
	say "this is not Debian; tests are skipped if one of these is missing: $wanted"
	exit 0
elif [ "$(id -u)" -ne 0 ]; then
	say "not root; tests are skipped if one of these is missing: $wanted"
	exit 0
fi

deny_services
deny_cluster
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
