#!/bin/sh
# Runs the program with this link's name in the Debian system next to the link's
# directory, with the temporary files of the tests. The process keeps its id. The
# programs of PostgreSQL refuse to run as root, so they run as nobody.
set -eu
exec unshare --mount --propagation slave sh -euc '
	root=$1 program=$2
	shift 2
	for dir in /dev /proc /sys /tmp; do
		mount --rbind $dir "$root$dir"
	done
	user=root
	case $program in
	postgres | initdb | pg_basebackup | pgbouncer) user=nobody:nogroup ;;
	esac
	PATH=/usr/lib/postgresql/17/bin:/usr/sbin:/usr/bin exec chroot --userspec=$user "$root" "$program" "$@"
' in-root "${0%.programs/*}" "${0##*/}" "$@"
