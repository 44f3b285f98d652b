# Targets are described in README.md. Everything that is made lies under build/.

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT   ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
FUZZTIME ?= 30s
LDFLAGS   = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
GOBUILD   = CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

.PHONY: build run check test fuzz bench clean

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
	go tool staticcheck ./...
	go test -short ./...

# Everything, on the real servers. What is skipped is listed at the end.
test:
	sh internal/testserver/install.sh
	@sh internal/testserver/run-tests.sh

# go test takes one fuzz target of one package at a time.
fuzz:
	@set -e; for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$package; \
		done; \
	done

bench: build
	go run ./internal/bench

clean:
	rm -rf build
