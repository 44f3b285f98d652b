#!/bin/sh
# Builds Debian systems with newer servers, as root, unless they exist:
# build/servers/RELEASE. RELEASE.programs has their programs, for TEST_SERVERS.
# Run it in the root of the checkout.
set -eu

build() { # $1: release, $2: packages, $3: programs, others: options of mmdebstrap
	release=$1 packages=$2 programs=$3
	shift 3
	if [ ! -d "build/servers/$release" ]; then
		rm -rf "build/servers/$release.new"
		mkdir -p build/servers
		mmdebstrap --variant=minbase "$@" --include="$packages" "$release" "build/servers/$release.new"
		echo '127.0.0.1 localhost' >"build/servers/$release.new/etc/hosts" # for mariadb-install-db
		mv "build/servers/$release.new" "build/servers/$release"
	fi
	mkdir -p "build/servers/$release.programs"
	for program in $programs; do
		ln -sf ../../../internal/test/servers/in-root.sh "build/servers/$release.programs/$program"
	done
}

build trixie mariadb-server,galera-4,rsync,postgresql-17,pgbouncer,nginx,libnginx-mod-mail,haproxy,valkey-server \
	'mariadbd mariadb-install-db postgres initdb pg_basebackup pgbouncer nginx haproxy redis-server'
ln -sf valkey-server build/servers/trixie/usr/bin/redis-server
build sid mysql-server-core mysqld --aptopt='Acquire::Check-Valid-Until "false"'
