package servers

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"goguerrillad/internal/test"
)

// A PostgresServer is a PostgreSQL for a test. It has the default durability, a database,
// an owner of the database and a user for the daemon. Its TCP port and its unix socket stay
// the same after a restart. Root starts it as the user nobody.
type PostgresServer struct {
	Addr   string // 127.0.0.1:port
	Socket string // directory of the unix socket, which has the port in its name

	User, Pass string // of the daemon; the owner has the same password
	Owner      string // of the database and the table
	DB         string // a database without tables

	process  *test.Process
	dir      string
	segments segments // of killed processes
}

// Postgres starts a server with additional settings, such as "max_connections=5". ALTER
// SYSTEM can change them.
func Postgres(t test.T, settings ...string) *PostgresServer {
	t.Helper()
	return PostgresIn(t, test.ShortDir(t), settings...)
}

// PostgresIn starts a server with its data directory, data, in dir. The directory may exist
// if it is empty, and it may be a symbolic link.
func PostgresIn(t test.T, dir string, settings ...string) *PostgresServer {
	t.Helper()
	test.Need(t, "postgres", "initdb")
	s := newPostgres(t, dir)
	s.own(t)
	// --no-sync: a test that cuts the power syncs the files itself.
	s.run(t, "initdb", "-D", s.dir, "-U", "postgres", "--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C.UTF-8",
		"--auth-local=trust", "--auth-host=trust")
	s.configure(t, settings)
	s.appendFile(t, "pg_hba.conf", false,
		"local all,replication postgres trust", "local all nobody peer",
		"local all all scram-sha-256",
		"host all all 127.0.0.1/32 scram-sha-256")
	s.Start(t)
	s.addUsers(t)
	return s
}

func newPostgres(t test.T, dir string) *PostgresServer {
	t.Helper()
	s := &PostgresServer{
		Addr:   net.JoinHostPort("127.0.0.1", strconv.Itoa(test.FreePort(t))),
		Socket: test.ShortDir(t),
		User:   "goguerrilla",
		Pass:   "pass \"word\" @:/?#\u00fc",
		Owner:  "mailowner",
		DB:     "mail",
		dir:    filepath.Join(dir, "data"),
	}
	t.Cleanup(func() {
		s.end()
		s.segments.remove()
	})
	return s
}

// own creates the data directory and gives the directories to the user of the server.
func (s *PostgresServer) own(t test.T) {
	t.Helper()
	err := os.Mkdir(s.dir, 0o700)
	if os.IsExist(err) {
		err = nil
	}
	for _, dir := range []string{filepath.Dir(s.dir), s.Socket, s.dir} {
		if err == nil && dir != s.dir {
			err = os.Chmod(dir, 0o755)
		}
		if err == nil && dir != filepath.Dir(s.dir) && os.Geteuid() == 0 {
			err = os.Chown(dir, test.Nobody, test.Nobody)
		}
	}
	if err != nil {
		t.Fatalf("make the data directory of PostgreSQL: %v", err)
	}
}

// command returns a command of PostgreSQL, which refuses to run as root.
func (s *PostgresServer) command(t test.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	program, err := test.LookPath(name)
	if err != nil {
		t.Fatalf("%v", err)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	unprivileged(cmd)
	return cmd
}

// unprivileged makes root run a command as the user nobody. in-root.sh does so itself.
func unprivileged(cmd *exec.Cmd) {
	if os.Geteuid() == 0 && filepath.Dir(cmd.Path) != os.Getenv("TEST_SERVERS") {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: test.Nobody, Gid: test.Nobody}}
	}
}

func (s *PostgresServer) run(t test.T, name string, args ...string) {
	t.Helper()
	if out, err := s.command(t, name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// configure appends settings to the configuration, where later settings override earlier
// ones.
func (s *PostgresServer) configure(t test.T, settings []string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(s.Addr)
	lines := []string{"listen_addresses='" + host + "'", "port=" + port, "unix_socket_directories='" + s.Socket + "'"}
	s.appendFile(t, "postgresql.conf", true, append(lines, settings...)...)
}

// appendFile writes lines to a file in the data directory, after its content if keep is true.
func (s *PostgresServer) appendFile(t test.T, name string, keep bool, lines ...string) {
	t.Helper()
	flags := os.O_WRONLY | os.O_APPEND
	if !keep {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(filepath.Join(s.dir, name), flags, 0)
	if err == nil {
		_, err = f.WriteString(strings.Join(lines, "\n") + "\n")
		f.Close()
	}
	if err != nil {
		t.Fatalf("configure PostgreSQL: %v", err)
	}
}

// Launch starts the server and does not wait.
func (s *PostgresServer) Launch(t test.T) {
	t.Helper()
	s.process = test.Start(t, s.command(t, "postgres", "-D", s.dir))
	t.Cleanup(s.end) // before test.Start's SIGTERM, which waits for the clients
}

// Start starts the server again after Kill or Stop, and waits until it accepts connections.
func (s *PostgresServer) Start(t test.T) {
	t.Helper()
	s.Launch(t)
	db := s.open(t, "postgres", "postgres")
	defer db.Close()
	test.Await(t, s.process, serverStart, "wait for a reply of PostgreSQL", db.Ping)
}

// Stop shuts the server down: it aborts transactions and writes a checkpoint. It kills the
// server after 20 s, for example because a standby does not reply.
func (s *PostgresServer) Stop() error {
	return s.stop(syscall.SIGINT)
}

// Crash shuts the server down without a checkpoint, so that its next start recovers.
func (s *PostgresServer) Crash() error {
	return s.stop(syscall.SIGQUIT)
}

func (s *PostgresServer) stop(sig os.Signal) error {
	s.signal(syscall.SIGCONT)
	s.process.Signal(sig)
	select {
	case <-s.process.Done():
	case <-time.After(20 * time.Second):
		s.Kill()
	}
	return s.process.Wait()
}

// end ends the server at the end of a test.
func (s *PostgresServer) end() {
	if s.process != nil && !s.Ended() {
		s.Crash()
	}
}

// Ended reports whether the server has ended.
func (s *PostgresServer) Ended() bool {
	select {
	case <-s.process.Done():
		return true
	default:
		return false
	}
}

// Pid returns the id of the main process, whose children serve the connections.
func (s *PostgresServer) Pid() int { return s.process.Cmd.Process.Pid }

// DataDir returns the data directory of the server.
func (s *PostgresServer) DataDir() string { return s.dir }

// Output returns the log of the server since its last start.
func (s *PostgresServer) Output() string { return s.process.Output() }

// Port returns the TCP port.
func (s *PostgresServer) Port() string {
	_, port, _ := net.SplitHostPort(s.Addr)
	return port
}

// Reload makes the server read its configuration again, and waits until new sessions have it.
func (s *PostgresServer) Reload(t test.T) {
	t.Helper()
	var before, after time.Time
	s.QueryRow(t, "SELECT pg_conf_load_time()", &before)
	s.Exec(t, "SELECT pg_reload_conf()")
	test.Await(t, s.process, serverStart, "wait for the configuration", func() error {
		if s.QueryRow(t, "SELECT pg_conf_load_time()", &after); !after.After(before) {
			return fmt.Errorf("it is of %v", after)
		}
		return nil
	})
}

// Set changes settings as ALTER SYSTEM does, such as "synchronous_commit=off", and reloads.
func (s *PostgresServer) Set(t test.T, settings ...string) {
	t.Helper()
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		s.Exec(t, fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", name, value))
	}
	s.Reload(t)
}

// UseCertificate makes the server offer TLS.
func (s *PostgresServer) UseCertificate(t test.T, c *test.Certificate) {
	t.Helper()
	for name, from := range map[string]string{"server.crt": c.CertFile, "server.key": c.KeyFile} {
		text, err := os.ReadFile(from)
		to := filepath.Join(s.dir, name)
		if err == nil {
			err = os.WriteFile(to, text, 0o600)
		}
		if err == nil && os.Geteuid() == 0 {
			err = os.Chown(to, test.Nobody, test.Nobody)
		}
		if err != nil {
			t.Fatalf("copy a certificate: %v", err)
		}
	}
	s.Set(t, "ssl=on")
}
