package daemon

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
)

// A Suite has the resources that all tests of a package share: the program, a MariaDB and a
// PostgreSQL.
// Each is created at its first use and ends with the test binary. A Suite implements
// test.T.
type Suite struct {
	name string
	dir  string

	program  func() (string, error)
	mariadb  func() *servers.MariaDBServer
	postgres func() *servers.PostgresServer

	mu       sync.Mutex
	cleanups []func()
}

// NewSuite prepares a suite for a variable of a package; TestMain must call Run.
func NewSuite(name string) *Suite {
	s := &Suite{name: name}
	s.program = sync.OnceValues(func() (string, error) { return Build(s.dir) })
	s.mariadb = sync.OnceValue(func() *servers.MariaDBServer { return servers.Database(s) })
	s.postgres = sync.OnceValue(func() *servers.PostgresServer { return servers.Postgres(s) })
	return s
}

// Run runs the tests, for TestMain, and returns the exit status.
func (s *Suite) Run(m *testing.M) int {
	var err error
	if s.dir, err = os.MkdirTemp("", "goguerrillad-"+s.name+"-"); err == nil {
		err = os.Chmod(s.dir, 0o755) // the daemon runs as nobody
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", s.name, err)
		return 1
	}
	defer os.RemoveAll(s.dir)
	code := m.Run()
	for i := len(s.cleanups) - 1; i >= 0; i-- {
		s.cleanups[i]()
	}
	return code
}

// Daemon is New with the program of this tree. With -short it skips the test.
func (s *Suite) Daemon(t test.T, keys map[string]string) *Daemon {
	t.Helper()
	if testing.Short() {
		t.Skipf("runs the built daemon")
	}
	program, err := s.program()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return New(t, program, keys)
}

// MariaDB returns the shared server.
func (s *Suite) MariaDB() *servers.MariaDBServer { return s.mariadb() }

// Postgres returns the shared server.
func (s *Suite) Postgres() *servers.PostgresServer { return s.postgres() }

func (s *Suite) Helper() {}

func (s *Suite) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

func (s *Suite) TempDir() string {
	dir, err := os.MkdirTemp(s.dir, "")
	if err != nil {
		s.Fatalf("%v", err)
	}
	return dir
}

func (s *Suite) Logf(format string, a ...any) {
	fmt.Fprintf(os.Stderr, s.name+": "+format+"\n", a...)
}

// Fatalf and Skipf panic. sync.OnceValue repeats the panic in each test that uses the
// resource.
func (s *Suite) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
func (s *Suite) Skipf(format string, a ...any)  { panic(fmt.Sprintf(format, a...)) }
