// Package testserver starts the real servers that tests and the benchmark
// need: each in a temporary directory, on a free port, ended with the test.
// It is imported by tests and the benchmark alone.
package testserver

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// T is what this package needs of testing.TB; the benchmark brings its own.
type T interface {
	Helper()
	Cleanup(func())
	TempDir() string
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Need ends the test unless all the programs are there: as skipped, or as
// failed where CI=true, since `make test` installs them.
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

// LookPath finds a program in PATH or in the sbin directories, where Debian
// keeps its servers, or among those that install.sh has unpacked.
func LookPath(program string) (string, error) {
	dirs := []string{"/usr/sbin", "/usr/local/sbin", "/sbin"}
	// Scripts called mariadbd and mariadb-install-db can start another version.
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
		// A lock that ends with the process.
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

// Seed returns what all chance in a test comes from, and logs it: the value of SEED
// in the environment, or one of the clock.
func Seed(t T) uint64 {
	t.Helper()
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("SEED"), strconv.FormatInt(time.Now().UnixNano(), 10)), 10, 64)
	if err != nil {
		t.Fatalf("SEED: %v", err)
	}
	t.Logf("SEED=%d", seed)
	return seed
}

// A Process is a program started by a test. It dies with the test, whatever
// way the test ends.
type Process struct {
	Cmd  *exec.Cmd
	done chan struct{}
	err  error

	mu     sync.Mutex
	output bytes.Buffer
}

// Start runs cmd in a process group of its own, gathers what it prints, and
// ends it (SIGTERM, then SIGKILL after five seconds) when the test is over.
func Start(t T, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Cmd: cmd, done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	// A pipe that a grandchild keeps open must not hold Wait up.
	cmd.WaitDelay = time.Second
	started := make(chan error)
	go func() {
		// The parent-death signal is tied to the thread that forked.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	t.Cleanup(func() { p.Stop() })
	return p
}

// Write gathers output; it makes a Process the command's stdout and stderr.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(b)
}

// Output returns what the process has printed so far.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// Signal sends sig to the process alone.
func (p *Process) Signal(sig os.Signal) error { return p.Cmd.Process.Signal(sig) }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end and returns what exec.Cmd.Wait said.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Kill ends the process at once, as a crash would.
func (p *Process) Kill() {
	syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// Pause stops the process in the midst of what it does, and waits until all of
// its threads stand still; the kernel still takes connections for it.
func (p *Process) Pause(t T) {
	t.Helper()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatalf("pause %s: %v", p.Cmd.Path, err)
	}
	Await(t, p, 10*time.Second, "threads go on", func() error {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Cmd.Process.Pid))
		if err != nil {
			return err
		}
		for _, task := range tasks {
			stat, err := os.ReadFile(task) // proc_pid_stat(5): the state stands behind the name
			if err == nil && !bytes.Contains(stat, []byte(") T ")) {
				return fmt.Errorf("%s", stat)
			}
		}
		return nil
	})
}

// Continue ends a Pause.
func (p *Process) Continue(t T) {
	t.Helper()
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatalf("continue %s: %v", p.Cmd.Path, err)
	}
}

// Stop asks the process to end and waits; after five seconds it is killed.
func (p *Process) Stop() error {
	select {
	case <-p.done:
		return p.err
	default:
	}
	p.Cmd.Process.Signal(syscall.SIGCONT)
	p.Cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
	}
	p.Kill()
	return p.err
}

// Await tries until it gets nil, the process (may be nil) ends, or the time is
// up, which fails the test with the last error and the process's output.
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
		ended := errors.New("")
		select {
		case <-done:
			ended = errors.New("; the process has ended")
		case <-time.After(20 * time.Millisecond):
			if time.Now().Before(deadline) {
				continue
			}
		}
		output := ""
		if p != nil {
			output = "\n" + p.Output()
		}
		t.Fatalf("%s: %v%v%s", what, err, ended, output)
	}
}

// Dial reports whether somebody listens on a TCP address; for Await.
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
