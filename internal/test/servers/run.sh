#!/bin/sh
# Runs the tests on the servers that roots.sh has built, and prints a row of the
# table in docs/cluster.md for each run. RUN selects runs by their first argument.
# The output of the tests is in build/servers/*.log.
set -u
export GOFLAGS=-count=1
status=0

version() { # $1: release, $2: package
	dpkg-query --root="build/servers/$1" -W -f '${Version}' "$2" | sed 's/^[0-9]*://; s/[-+].*//'
}

run() { # $1: name, $2: release, $3: servers, $4: tests in words, others: arguments of go test
	name=$1 release=$2 servers=$3 tests=$4
	shift 4
	echo "$name" | grep -qE "${RUN:-.}" || return 0
	log=build/servers/$name.log
	result=passed
	TEST_SERVERS=$PWD/build/servers/$release.programs go test -p 1 -timeout 2h -v "$@" >"$log" 2>&1 || {
		result=FAILED
		status=1
		grep -E '^ *--- FAIL|^panic:' "$log" >&2
	}
	grep -A 1 -E '^ *--- SKIP' "$log" >&2
	echo "| $servers | $(date +%F) | $tests | $result, $(grep -cE '^ *--- PASS' "$log") tests |"
}

store='TestMariaDB|TestSession|TestFailover|TestDiskFull|TestPreferredTLS|TestGroupReplication'
clients='TestSenders|TestRecipient|TestOutage|TestDataErrors'
faults='TestFaultsSwitchOver|TestFaultsGroupReplication'
mariadb="MariaDB $(version trixie mariadb-server-core)"
mysql="MySQL $(version sid mysql-server-core)"
postgres="PostgreSQL $(version trixie postgresql-17)"
pooler="PgBouncer $(version trixie pgbouncer)"
proxies="nginx $(version trixie nginx), HAProxy $(version trixie haproxy)"

saves='saves, columns, character sets, rights, settings, kills, cuts, outcomes, failover, a full disk'
real='real senders, GM_RECIPIENT_QUERY, outages, random values'
swaps='switch-over, asynchronous and semi-synchronous; the primary is killed'

run mariadb-store trixie "$mariadb" "$saves" -run "^($store)\$" ./internal/savemail/mysql
run mariadb-galera trixie "$mariadb, Galera $(version trixie galera-4)" 'nodes are killed, hang and lose their cluster' -run '^TestGalera$' ./internal/savemail/mysql
run mariadb-clients trixie "$mariadb" "$real" -run "^($clients)" ./internal/test/e2e
run mariadb-faults trixie "$mariadb" "$swaps" -run "^($faults)\$" ./internal/test/faults
run mysql-store sid "$mysql" "$saves, logins with caching_sha2_password" -tags mysql -run "^($store)\$" ./internal/savemail/mysql
run mysql-clients sid "$mysql" "$real" -tags mysql -run "^($clients)" ./internal/test/e2e
run mysql-faults sid "$mysql" "$swaps; Group Replication, three members" -tags mysql -run "^($faults)\$" ./internal/test/faults
run postgres-store trixie "$postgres, $pooler" 'saves, columns, rights, kills, cuts, outcomes, a promoted standby, a pooler' ./internal/savemail/postgres
run postgres-clients trixie "$postgres" 'a missing standby, -t, GM_RECIPIENT_QUERY, the statements of operating.md and consuming.md' -run '^(TestPostgres|TestCheckPostgres|TestNoStandby|TestRecipientsPage)' ./internal/test/e2e
run postgres-faults trixie "$postgres" 'the faults of one server and its disk' -run '^TestFaultsPostgres$' ./internal/test/faults
run valkey trixie "Valkey $(version trixie valkey-server)" 'REDIS_MODE, REDIS_STREAM, outages' ./internal/savemail/redis
run valkey-daemon trixie "Valkey $(version trixie valkey-server)" 'the daemon, the consumers of stream.md' -run '^(TestRedis|TestStreamPage|TestRedisInjection)$' ./internal/test/e2e ./internal/test/attacks
run proxies trixie "$proxies" 'the configurations of nginx.md, haproxy.md and balancing.md' -run '^(TestNginx|TestHAProxy|TestBalancingPage|TestForgedXClient|TestEarlyResponse)' ./internal/test/e2e ./internal/savemail/webhook
exit $status
