# Targets are described in README.md. Everything that is made lies under build/.

VERSION  ?= $(shell sh packaging/version.sh)
COMMIT   ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
FUZZTIME ?= 30s
LDFLAGS   = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
GOBUILD   = CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

# Where install puts things, as GNU has it.
prefix      = /usr/local
sysconfdir  = /etc
sbindir     = $(prefix)/sbin
mandir      = $(prefix)/share/man
unitdir     = $(prefix)/lib/systemd/system
sysusersdir = $(prefix)/lib/sysusers.d
tmpfilesdir = $(prefix)/lib/tmpfiles.d

.PHONY: build run check test mutants mutate test-faults test-tidb fuzz bench install install-only uninstall deb clean

build:
	@mkdir -p build
	$(GOBUILD) -o build/goguerrillad ./cmd/goguerrillad

run: build
	@sh packaging/run.sh

# The fast loop: what needs no server, in under a minute once compiled.
check:
	@unformatted=$$(gofmt -l cmd internal); \
	if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go vet -tags tidb ./internal/...
	go tool staticcheck ./...
	go test -short ./...

# Everything, on the real servers. What is skipped is listed at the end.
test:
	sh internal/test/install.sh
	@sh internal/test/run-tests.sh

# Applies each mutant in internal/test/mutants, a change that loses or doubles a
# message, to a copy of the tree, runs the tests named in it, and reports every
# mutant that they do not kill. RUN is a regular expression for names.
RUN ?=
mutants:
	sh internal/test/install.sh
	go run ./internal/test/mutants -run '$(RUN)'

# Applies a random sample of small changes to packages, runs their tests, and
# reports the changes that no test notices, with file and line. TESTS are packages
# with the tests, if not the same; -n and -seed go into MUTATE.
PKG    ?= internal/session
TESTS  ?=
MUTATE ?=
mutate:
	sh internal/test/install.sh
	go run ./internal/test/mutants -packages '$(PKG)' $(if $(TESTS),-tests '$(TESTS)') $(MUTATE)

# Breaks everything that the daemon stands on, for hours: FAULTS=short is the
# form that is part of test. SEED, which is printed, repeats a run's chance.
FAULTS ?= long
test-faults:
	sh internal/test/install.sh
	FAULTS=$(FAULTS) go test -count=1 -timeout 6h -v -run '^(TestFaults|TestCluster|TestPower|TestFailedSync)' ./internal/test/faults
	FAULTS=$(FAULTS) go test -count=1 -timeout 6h -v -run '^(TestMariaDB|TestFailover|TestDiskFull)$$' ./internal/savemail/mysql
	FAULTS=$(FAULTS) go test -count=1 -timeout 6h -v -run '^TestDataErrors' ./internal/test/e2e

# On TiDB, whose server is built here first: some six minutes on two cores.
# Part of no other target.
test-tidb:
	mkdir -p build/servers/tidb
	cd internal/test/tidb && go build -o ../../../build/servers/tidb/tidb-server github.com/pingcap/tidb/cmd/tidb-server
	sh internal/test/install.sh
	go test -tags tidb -count=1 -timeout 1h -v -run '^TestTiDB$$' ./internal/savemail/mysql
	go test -tags tidb -count=1 -timeout 1h -v -run '^TestSenders$$' ./internal/test/e2e
	FAULTS=$(FAULTS) go test -tags tidb -count=1 -timeout 6h -v -run '^TestFaultsTiDB$$' ./internal/test/faults

# go test takes one fuzz target of one package at a time.
fuzz:
	@set -e; for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$package; \
		done; \
	done

# Prints what it measured, and writes it to these files. BENCH=short takes three
# minutes.
BENCH_OUT ?= build/performance
bench: build
	BENCH_OUT=$(BENCH_OUT) go run ./internal/test/bench

install: build install-only

# A configuration that is there stays. The daemon of the units has its state in
# /var/lib/goguerrillad, which -list and -show must know as well.
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
	[ -e $(DESTDIR)$(sysconfdir)/goguerrilla/goguerrilla.conf ] || { \
		install -d $(DESTDIR)$(sysconfdir)/goguerrilla && \
		sed 's#"SQLITE_FILE": ""#"SQLITE_FILE": "/var/lib/goguerrillad/mail.db"#' goguerrilla.conf.sample \
			>$(DESTDIR)$(sysconfdir)/goguerrilla/goguerrilla.conf && \
		chmod 640 $(DESTDIR)$(sysconfdir)/goguerrilla/goguerrilla.conf; }

# Mail and configuration stay.
uninstall:
	rm -f $(DESTDIR)$(sbindir)/goguerrillad $(DESTDIR)$(unitdir)/goguerrillad.socket $(DESTDIR)$(unitdir)/goguerrillad.service \
		$(DESTDIR)$(sysusersdir)/goguerrillad.conf $(DESTDIR)$(tmpfilesdir)/goguerrillad.conf \
		$(DESTDIR)$(mandir)/man8/goguerrillad.8 $(DESTDIR)$(mandir)/man5/goguerrilla.conf.5

# build/goguerrillad_VERSION_ARCH.deb; DEB_ARCH=arm64 builds for another one.
deb:
	@VERSION='$(VERSION)' COMMIT='$(COMMIT)' DEB_ARCH='$(DEB_ARCH)' sh packaging/deb/build.sh

clean:
	rm -rf build
