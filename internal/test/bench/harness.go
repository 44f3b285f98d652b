package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"goguerrillad/internal/test"
)

// A harness is a test.T for a program: it has the directory for all files and the
// list of cleanups. Only one goroutine may use it.
type harness struct {
	dir      string
	daemon   string // the path of the program, once it is built
	pair     *test.Certificate
	log      io.Writer
	cleanups []func()
}

// errSkipped is the error of a part that this machine cannot run.
var errSkipped = errors.New("skipped")

// halt passes an error from Fatalf or Skipf to try.
type halt struct{ error }

// newHarness makes a directory in build/bench, on the disk of the checkout: the
// usual directory for temporary files may be in memory, where fsync costs nothing.
func newHarness(log io.Writer) (*harness, error) {
	root, err := test.ModuleRoot()
	if err != nil {
		return nil, err
	}
	parent := filepath.Join(root, "build", "bench")
	// Servers that start as root switch to another user, who must have access; and
	// the path of a socket has at most 107 bytes.
	if os.Geteuid() == 0 && !open(root) || len(parent) > 55 {
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
		// For the temporary files of package test.
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

// open reports whether every user may enter dir.
func open(dir string) bool {
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
		// It fails if another bench has files there.
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

// Cleanup makes close call f.
func (h *harness) Cleanup(f func()) { h.cleanups = append(h.cleanups, f) }

// TempDir makes a directory that close removes.
func (h *harness) TempDir() string {
	dir, err := os.MkdirTemp(h.dir, "")
	if err != nil {
		h.Fatalf("make a directory: %v", err)
	}
	return dir
}

// certificate returns the certificate of all servers: ECDSA P-256.
func (h *harness) certificate() *test.Certificate {
	if h.pair == nil {
		h.pair = test.NewCertificate(h, h.dir, "server")
	}
	return h.pair
}

// Logf prints a line of progress.
func (h *harness) Logf(format string, args ...any) {
	fmt.Fprintf(h.log, "bench: "+format+"\n", args...)
}

// Fatalf ends the current try.
func (h *harness) Fatalf(format string, args ...any) {
	panic(halt{fmt.Errorf(format, args...)})
}

// Skipf ends the current try with errSkipped.
func (h *harness) Skipf(format string, args ...any) {
	panic(halt{fmt.Errorf("%w: %s", errSkipped, fmt.Sprintf(format, args...))})
}
