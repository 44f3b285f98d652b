# README.md describes the targets. All output is in build/.

VERSION  ?= $(shell sh packaging/version.sh)
COMMIT   ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
FUZZTIME ?= 30s
LDFLAGS   = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
GOBUILD   = CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

# Installation directories, by the GNU conventions.
prefix      = /usr/local
sysconfdir  = /etc
sbindir     = $(prefix)/sbin
mandir      = $(prefix)/share/man
unitdir     = $(prefix)/lib/systemd/system
sysusersdir = $(prefix)/lib/sysusers.d
tmpfilesdir = $(prefix)/lib/tmpfiles.d

.PHONY: build run check test mutants mutate test-faults test-tidb test-servers fuzz bench install install-only uninstall deb clean

build:
	@mkdir -p build
	$(GOBUILD) -o build/goguerrillad ./cmd/goguerrillad

run: build
	@sh packaging/run.sh

# The fast loop: everything that needs no server, in about a minute.
check:
	@unformatted=$$(gofmt -l cmd internal); \
	if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go vet -tags tidb ./internal/...
	go vet -tags mysql ./internal/...
	go tool staticcheck ./...
	go test -short ./...

# All tests, on real servers. The output ends with a list of skipped tests.
test:
	sh internal/test/install.sh
	@sh internal/test/run-tests.sh

# Applies each mutant in internal/test/mutants/durable, a change that loses or
# doubles a message, to a copy of the tree, runs its tests, and reports the
# mutants that no test detects. RUN is a regular expression for their names.
RUN ?=
mutants:
	sh internal/test/install.sh
	go run ./internal/test/mutants -run '$(RUN)'

# Applies a random sample of small changes to the packages PKG, runs the tests of
# the packages TESTS (default: PKG), and reports the changes that no test detects,
# with file and line. MUTATE takes -n and -seed.
PKG    ?= internal/session
TESTS  ?=
MUTATE ?=
mutate:
	sh internal/test/install.sh
	go run ./internal/test/mutants -packages '$(PKG)' $(if $(TESTS),-tests '$(TESTS)') $(MUTATE)

# Breaks everything that the daemon depends on, for hours. FAULTS=short is the
# form that make test runs. SEED repeats a run; each run prints its seed.
FAULTS ?= long
test-faults:
	sh internal/test/install.sh
	FAULTS=$(FAULTS) go test -count=1 -timeout 6h -v -run '^(TestFaults|TestCluster|TestPower|TestFailedSync)' ./internal/test/faults
	FAULTS=$(FAULTS) go test -count=1 -timeout 6h -v -run '^(TestMariaDB|TestFailover|TestDiskFull)$$' ./internal/savemail/mysql
	FAULTS=$(FAULTS) go test -count=1 -timeout 6h -v -run '^TestDataErrors' ./internal/test/e2e

# Tests on TiDB, whose server is built first (about six minutes on two cores). No
# other target includes them.
test-tidb:
	mkdir -p build/servers/tidb
	cd internal/test/tidb && go build -o ../../../build/servers/tidb/tidb-server github.com/pingcap/tidb/cmd/tidb-server
	sh internal/test/install.sh
	go test -tags tidb -count=1 -timeout 1h -v -run '^TestTiDB$$' ./internal/savemail/mysql
	go test -tags tidb -count=1 -timeout 1h -v -run '^TestSenders$$' ./internal/test/e2e
	FAULTS=$(FAULTS) go test -tags tidb -count=1 -timeout 6h -v -run '^TestFaultsTiDB$$' ./internal/test/faults

# Tests on newer servers than this Debian has: MariaDB, PostgreSQL, PgBouncer, Valkey,
# nginx and HAProxy of trixie, MySQL of sid. The first run builds both systems in build/servers, as root.
# RUN is a regular expression for the runs in internal/test/servers/run.sh. No other
# target includes them.
test-servers:
	sh internal/test/install.sh
	sh internal/test/servers/roots.sh
	@RUN='$(RUN)' sh internal/test/servers/run.sh

# go test runs only one fuzz target of one package.
fuzz:
	@set -e; for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$package; \
		done; \
	done

# Prints the figures and writes them to BENCH_OUT. BENCH=short takes three
# minutes. BENCH=field, as root, measures other mail servers too: it builds some
# of them in build/servers, and then takes about ten minutes.
# BENCH=scaling measures 1 to 16 loops, in less than eight minutes.
# BENCH=service measures the installed package on a booted Debian 12, as root.
BENCH_OUT ?= build/$(if $(filter scaling service,$(BENCH)),$(BENCH),performance)
bench: build
	BENCH_OUT=$(BENCH_OUT) go run ./internal/test/bench

install: build install-only

# An existing configuration is kept.
install-only:
	install -D -m 755 build/goguerrillad $(DESTDIR)$(sbindir)/goguerrillad
	install -d $(DESTDIR)$(unitdir)
	for unit in goguerrillad.socket goguerrillad.service; do \
		sed 's#/usr/sbin/#$(sbindir)/#g' packaging/systemd/$$unit >$(DESTDIR)$(unitdir)/$$unit && \
		chmod 644 $(DESTDIR)$(unitdir)/$$unit || exit 1; \
	done
	install -D -m 644 packaging/systemd/goguerrillad.sysusers $(DESTDIR)$(sysusersdir)/goguerrillad.conf
	install -D -m 644 packaging/systemd/goguerrillad.tmpfiles $(DESTDIR)$(tmpfilesdir)/goguerrillad.conf
	install -D -m 644 -t $(DESTDIR)$(mandir)/man8 man/goguerrillad.8
	install -D -m 644 -t $(DESTDIR)$(mandir)/man5 man/goguerrilla.conf.5
	[ -e $(DESTDIR)$(sysconfdir)/goguerrilla/goguerrilla.conf ] || \
		install -D -m 640 goguerrilla.conf.sample $(DESTDIR)$(sysconfdir)/goguerrilla/goguerrilla.conf

# Messages and configuration are kept.
uninstall:
	rm -f $(DESTDIR)$(sbindir)/goguerrillad $(DESTDIR)$(unitdir)/goguerrillad.socket $(DESTDIR)$(unitdir)/goguerrillad.service \
		$(DESTDIR)$(sysusersdir)/goguerrillad.conf $(DESTDIR)$(tmpfilesdir)/goguerrillad.conf \
		$(DESTDIR)$(mandir)/man8/goguerrillad.8 $(DESTDIR)$(mandir)/man5/goguerrilla.conf.5

# Builds build/goguerrillad_VERSION_ARCH.deb; DEB_ARCH=arm64 cross-builds.
deb:
	@VERSION='$(VERSION)' COMMIT='$(COMMIT)' DEB_ARCH='$(DEB_ARCH)' sh packaging/deb/build.sh

clean:
	rm -rf build
