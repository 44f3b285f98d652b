#!/bin/sh
# make run: the daemon on 127.0.0.1:2525, storing in build/run/mail.db, with a
# configuration made from run.conf. As root it becomes nobody, as it would in
# earnest.
set -eu
dir=$PWD/build/run
mkdir -p "$dir"

configure() { # $1: the file, $2: the directory as its reader sees it, $3, $4: group and user to become
	sed -e "s|@DIR@|$2|" -e "s|@GROUP@|$3|" -e "s|@USER@|$4|" packaging/run.conf >"$dir/$1"
}

cat <<EOF
goguerrillad receives on 127.0.0.1:2525 and stores in build/run/mail.db.

  send a mail    curl smtp://127.0.0.1:2525 --mail-from me@example.org --mail-rcpt you@example.com -T README.md
        or       swaks --server 127.0.0.1:2525 --to you@example.com
  list mails     build/goguerrillad -config build/run/goguerrilla.conf -list 10
  see one        build/goguerrillad -config build/run/goguerrilla.conf -show HASH
  end it         Ctrl-C

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
# A checkout under a private directory (/root, say) can't be reached by nobody:
# show build/run to this one process at a place that can.
exec unshare --mount sh -eu -c 'mount --bind "$1" /mnt
	exec build/goguerrillad -config /mnt/private.conf' sh "$dir"
