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

store='TestMariaDB|TestSession|TestFailover|TestDiskFull|TestCachingSHA2Password|TestPreferredTLS|TestGroupReplication'
clients='TestSenders|TestRecipient|TestOutage|TestDataErrors'
faults='TestFaultsSwitchOver|TestFaultsGroupReplication'
mariadb="MariaDB $(version trixie mariadb-server-core)"
mysql="MySQL $(version sid mysql-server-core)"
proxies="nginx $(version trixie nginx), HAProxy $(version trixie haproxy)"

run mariadb-store trixie "$mariadb" 'store' -run "^($store)\$" ./internal/savemail/mysql
run mariadb-galera trixie "$mariadb, Galera $(version trixie galera-4)" 'nodes are killed, hang and lose their cluster' -run '^TestGalera$' ./internal/savemail/mysql
run mariadb-clients trixie "$mariadb" 'senders, recipients' -run "^($clients)" ./internal/test/e2e
run mariadb-faults trixie "$mariadb" 'switch-over' -run "^($faults)\$" ./internal/test/faults
run mysql-store sid "$mysql" 'store, logins' -tags mysql -run "^($store)\$" ./internal/savemail/mysql
run mysql-clients sid "$mysql" 'senders, recipients' -tags mysql -run "^($clients)" ./internal/test/e2e
run mysql-faults sid "$mysql" 'switch-over' -tags mysql -run "^($faults)\$" ./internal/test/faults
run valkey trixie "Valkey $(version trixie valkey-server)" 'copies, messages, the stream' ./internal/savemail/redis
run valkey-daemon trixie "Valkey $(version trixie valkey-server)" 'the daemon' -run '^(TestRedis|TestStreamPage|TestRedisInjection)$' ./internal/test/e2e ./internal/test/attacks
run proxies trixie "$proxies" 'the pages' -run '^(TestNginx|TestHAProxy|TestBalancingPage|TestForgedXClient|TestEarlyResponse)' ./internal/test/e2e ./internal/savemail/webhook
exit $status
