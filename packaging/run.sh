#!/bin/sh
# make run: runs the daemon on 127.0.0.1:2525 with a configuration made from
# run.conf. It stores messages in build/run/mail.db. Started as root, it switches
# to the user nobody.
set -eu
dir=$PWD/build/run
mkdir -p "$dir"

configure() { # $1: file, $2: directory as the daemon sees it, $3, $4: group and user
	sed -e "s|@DIR@|$2|" -e "s|@GROUP@|$3|" -e "s|@USER@|$4|" packaging/run.conf >"$dir/$1"
}

cat <<EOF
goguerrillad receives on 127.0.0.1:2525 and stores messages in build/run/mail.db.

  send a message curl smtp://127.0.0.1:2525 --mail-from me@example.org --mail-rcpt you@example.com -T README.md
        or       swaks --server 127.0.0.1:2525 --to you@example.com
  list messages  build/goguerrillad -config build/run/goguerrilla.conf -list 10
  show a message build/goguerrillad -config build/run/goguerrilla.conf -show HASH
  stop           Ctrl-C

EOF

if [ "$(id -u)" -ne 0 ]; then
	configure goguerrilla.conf "$dir" "" ""
	exec build/goguerrillad -config "$dir/goguerrilla.conf"
fi

nobody=65534
configure goguerrilla.conf "$dir" $nobody $nobody
configure private.conf /mnt $nobody $nobody
chown -R $nobody:$nobody "$dir"
if setpriv --reuid=$nobody --regid=$nobody --clear-groups test -w "$dir" 2>/dev/null; then
	exec build/goguerrillad -config "$dir/goguerrilla.conf"
fi
# The user nobody cannot reach a checkout in a private directory such as /root:
# bind build/run to a reachable place, for this process only.
exec unshare --mount sh -eu -c 'mount --bind "$1" /mnt
	exec build/goguerrillad -config /mnt/private.conf' sh "$dir"
