// Package test has helpers for the tests and the benchmark: processes, free ports,
// temporary directories and certificates. At the end of a test they are ended, released or
// removed. Only tests and the benchmark import this package and the packages below it.
package test

import (
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// T is the part of testing.TB that this package uses; the benchmark implements it.
type T interface {
	Helper()
	Cleanup(func())
	TempDir() string
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Need skips the test unless all programs are installed. With CI=true it fails the
// test, since `make test` installs them.
func Need(t T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := LookPath(p); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is not installed, and CI=true allows no skip", p)
			}
			t.Skipf("%s is not installed: make test installs it (as root)", p)
		}
	}
}

// LookPath finds a program in PATH, in the sbin directories, in Debian's directories of
// PostgreSQL, or among the servers that install.sh has unpacked.
func LookPath(program string) (string, error) {
	dirs := []string{"/usr/sbin", "/usr/local/sbin", "/sbin"}
	if versions, err := filepath.Glob("/usr/lib/postgresql/*/bin"); err == nil && len(versions) > 0 {
		dirs = append(dirs, versions[len(versions)-1])
	}
	// Its scripts mariadbd and mariadb-install-db can start another version of MariaDB.
	if first := os.Getenv("TEST_SERVERS"); first != "" {
		dirs = slices.Insert(dirs, 0, first)
	}
	if root, err := ModuleRoot(); err == nil {
		for _, server := range []string{"exim", "opensmtpd"} {
			dirs = append(dirs, filepath.Join(root, "build/servers", server, "usr/sbin"))
		}
		dirs = append(dirs, filepath.Join(root, "build/servers/tidb"))
	}
	for _, dir := range dirs {
		if p, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return p, nil
		}
	}
	return exec.LookPath(program)
}

// FreePort returns a TCP port of 127.0.0.1 on which no program listens. No other
// test receives it until t ends, in this process or in another, and the kernel
// does not choose it for a connection (ip_local_port_range of ip(7)).
func FreePort(t T) int {
	t.Helper()
	for range 1000 {
		port := 10_000 + rand.IntN(20_000)
		// The kernel releases the lock at the end of the process.
		lock, err := net.Listen("unix", fmt.Sprintf("@goguerrillad-test-port-%d", port))
		if err != nil {
			continue
		}
		probe, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			lock.Close()
			continue
		}
		probe.Close()
		t.Cleanup(func() { lock.Close() })
		return port
	}
	t.Fatalf("no port of 127.0.0.1 is free")
	return 0
}

// Seed returns and logs the seed of all random decisions in a test: the environment
// variable SEED, or a value from the clock.
func Seed(t T) uint64 {
	t.Helper()
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("SEED"), strconv.FormatInt(time.Now().UnixNano(), 10)), 10, 64)
	if err != nil {
		t.Fatalf("SEED: %v", err)
	}
	t.Logf("SEED=%d", seed)
	return seed
}

// Await calls try until it returns nil. It fails the test with the last error and the
// output of the process, which may be nil, if the process ends or the timeout has passed.
func Await(t T, p *Process, timeout time.Duration, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	var done <-chan struct{}
	if p != nil {
		done = p.done
	}
	for {
		err := try()
		if err == nil {
			return
		}
		ended := ""
		select {
		case <-done:
			ended = "; the process has ended"
		case <-time.After(20 * time.Millisecond):
			if time.Now().Before(deadline) {
				continue
			}
		}
		output := ""
		if p != nil {
			output = "\n" + p.Output()
		}
		t.Fatalf("%s: %v%s%s", what, err, ended, output)
	}
}

// Dial returns a function for Await that connects to a TCP address.
func Dial(addr string) func() error {
	return func() error {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return fmt.Errorf("dial %s: %w", addr, err)
		}
		return c.Close()
	}
}

// Get returns the response of an HTTP server to a GET, and its body.
func Get(addr, path string) (*http.Response, string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	r, err := client.Get("http://" + addr + path)
	if err != nil {
		return nil, "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return r, string(body), err
}

// TCPSocket returns a socket that listens on an address, as systemd passes it.
func TCPSocket(t T, address string) *os.File {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
