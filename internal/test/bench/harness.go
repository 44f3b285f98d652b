package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"goguerrillad/internal/test"
)

// A harness implements test.T for the benchmark. It has a directory for all files, and the
// cleanups. Only one goroutine may use it.
type harness struct {
	dir       string
	daemon    string   // path of the built program, "" before it is built
	daemonEnv []string // additional environment of daemons
	deb       string   // path of the built package, "" before it is built
	pair      *test.Certificate
	log       io.Writer
	cleanups  []func()
}

// errSkipped is the error of Skipf.
var errSkipped = errors.New("skipped")

// halt is the panic of Fatalf and Skipf, which try recovers.
type halt struct{ error }

// newHarness makes a directory in build/bench, on the disk of the checkout. /tmp may be in
// memory, where fsync costs nothing.
func newHarness(log io.Writer) (*harness, error) {
	root, err := test.ModuleRoot()
	if err != nil {
		return nil, err
	}
	parent := filepath.Join(root, "build", "bench")
	// Servers that start as root switch to another user, which needs access, and the
	// path of a unix socket has at most 107 bytes.
	if os.Geteuid() == 0 && !everyUserMayEnter(root) || len(parent) > 55 {
		parent = "/var/tmp"
	} else if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	dir, err := os.MkdirTemp(parent, "goguerrillad-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	old, set := os.LookupEnv("TMPDIR")
	if err == nil {
		// Package test makes its temporary files there.
		err = os.Setenv("TMPDIR", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	h := &harness{dir: dir, log: log}
	h.Cleanup(func() {
		if set {
			os.Setenv("TMPDIR", old)
		} else {
			os.Unsetenv("TMPDIR")
		}
	})
	return h, nil
}

// everyUserMayEnter reports whether every user may enter dir.
func everyUserMayEnter(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// close runs the cleanups, last first, and removes the directory.
func (h *harness) close() error {
	var errs []error
	for len(h.cleanups) > 0 {
		last := len(h.cleanups) - 1
		cleanup := h.cleanups[last]
		h.cleanups = h.cleanups[:last]
		errs = append(errs, h.try(cleanup))
	}
	errs = append(errs, os.RemoveAll(h.dir))
	if parent := filepath.Dir(h.dir); filepath.Base(parent) == "bench" {
		// This fails if another bench has files there.
		os.Remove(parent)
	}
	return errors.Join(errs...)
}

// try runs f and returns the error of its Fatalf or Skipf.
func (h *harness) try(f func()) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case halt:
			err = p.error
		default:
			panic(p)
		}
	}()
	f()
	return nil
}

func (h *harness) Helper() {}

func (h *harness) Cleanup(f func()) { h.cleanups = append(h.cleanups, f) }

func (h *harness) TempDir() string {
	dir, err := os.MkdirTemp(h.dir, "")
	if err != nil {
		h.Fatalf("make a directory: %v", err)
	}
	return dir
}

// certificate returns the certificate that all servers use.
func (h *harness) certificate() *test.Certificate {
	if h.pair == nil {
		h.pair = test.NewCertificate(h, h.dir, "server")
	}
	return h.pair
}

func (h *harness) Logf(format string, args ...any) {
	fmt.Fprintf(h.log, "bench: "+format+"\n", args...)
}

func (h *harness) Fatalf(format string, args ...any) {
	panic(halt{fmt.Errorf(format, args...)})
}

func (h *harness) Skipf(format string, args ...any) {
	panic(halt{fmt.Errorf("%w: %s", errSkipped, fmt.Sprintf(format, args...))})
}
