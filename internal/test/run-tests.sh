#!/bin/sh
# Runs every test with the race detector and lists the skipped tests with their
# reasons. The full output is in build/test.log.
set -u
mkdir -p build
race=-race
command -v gcc >/dev/null 2>&1 || { race=; echo "gcc is not installed: running without the race detector"; }
# These tests measure a process, which the race detector would change.
measuring='^(TestMemoryStays|TestIdleCost|TestNoSpin|TestHeap)$'
# Tests wait for a third of their time, so one more package than there are CPUs runs
# concurrently.
packages=$(($(getconf _NPROCESSORS_ONLN) + 1))
status=0
CGO_ENABLED=${race:+1} go test $race -p $packages -count=1 -timeout 45m -v -skip "$measuring" ./... >build/test.log 2>&1 || status=$?
CGO_ENABLED=0 go test -count=1 -timeout 15m -v -run "$measuring" ./internal/smtpd >>build/test.log 2>&1 || status=$?
grep -E '^(ok|FAIL|panic|\?)' build/test.log
if [ $status -ne 0 ]; then
	echo "--- failed tests with their last output (all of it is in build/test.log):"
	grep -E '^ *--- FAIL' build/test.log
	grep -nE -B 15 -A 5 '^ *--- FAIL|^panic:|WARNING: DATA RACE' build/test.log | cut -c 1-300 | tail -n 200
fi
passed=$(grep -cE '^ *--- PASS' build/test.log)
failed=$(grep -cE '^ *--- FAIL' build/test.log)
skipped=$(grep -cE '^ *--- SKIP' build/test.log)
if [ "$skipped" -ne 0 ]; then
	echo "--- skipped:"
	grep -A1 -E '^ *--- SKIP' build/test.log
	if [ "${CI:-}" = true ]; then
		echo "CI=true allows no skip"
		status=1
	fi
fi
echo "$passed passed, $failed failed, $skipped skipped"
exit $status
