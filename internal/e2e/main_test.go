package e2e

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"goguerrillad/internal/testserver"
)

// What all tests of the package share is made when the first one asks, and
// ends with the last.
var shared = &suite{}

// A suite is a testserver.T that lasts as long as the test binary.
type suite struct {
	mu       sync.Mutex
	cleanups []func()
	dir      string

	program func() string // the built daemon
	failure string        // why there is none
	mariadb func() *testserver.MariaDBServer
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "goguerrillad-e2e-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // the daemon runs as nobody
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	shared.dir = dir
	shared.program = sync.OnceValue(func() string {
		program, err := testserver.BuildDaemon(dir)
		if err != nil {
			shared.failure = err.Error()
		}
		return program
	})
	shared.mariadb = sync.OnceValue(func() *testserver.MariaDBServer {
		return testserver.MariaDB(shared, "--max-allowed-packet=64M")
	})
	code := m.Run()
	shared.end()
	os.RemoveAll(dir)
	os.Exit(code)
}

func (s *suite) Helper() {}

func (s *suite) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

func (s *suite) end() {
	for i := len(s.cleanups) - 1; i >= 0; i-- {
		s.cleanups[i]()
	}
}

func (s *suite) TempDir() string {
	dir, err := os.MkdirTemp(s.dir, "")
	if err != nil {
		s.Fatalf("%v", err)
	}
	return dir
}

func (s *suite) Logf(format string, a ...any) { fmt.Fprintf(os.Stderr, "e2e: "+format+"\n", a...) }

// Fatalf and Skipf end what is being started; the test that asked for it
// reports them.
func (s *suite) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
func (s *suite) Skipf(format string, a ...any)  { panic(fmt.Sprintf(format, a...)) }

// newDaemon is testserver.NewDaemon with the program of this tree.
func newDaemon(t *testing.T, keys map[string]string) *testserver.Daemon {
	t.Helper()
	if testing.Short() {
		t.Skip("runs the built daemon")
	}
	program := shared.program()
	if shared.failure != "" {
		t.Fatal(shared.failure)
	}
	return testserver.NewDaemon(t, program, keys)
}
