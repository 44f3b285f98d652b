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

	"goguerrillad/internal/test"
)

// A PgBouncerProxy is a PgBouncer with a pool of connections to a PostgreSQL.
type PgBouncerProxy struct {
	Addr string // 127.0.0.1:port, for PostgresServer.DSN

	process *test.Process
	file    string // configuration
}

// PgBouncer starts PgBouncer for a server with a pool_mode, "session", "transaction" or
// "statement", and additional settings such as "default_pool_size=5".
func PgBouncer(t test.T, s *PostgresServer, mode string, settings ...string) *PgBouncerProxy {
	t.Helper()
	test.Need(t, "pgbouncer")
	dir := test.PublicDir(t)
	b := &PgBouncerProxy{
		Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(test.FreePort(t))),
		file: filepath.Join(dir, "pgbouncer.ini"),
	}
	var users strings.Builder
	for _, user := range []string{s.User, s.Owner} {
		fmt.Fprintf(&users, "\"%s\" \"%s\"\n", user, strings.ReplaceAll(s.Pass, `"`, `""`))
	}
	_, port, _ := net.SplitHostPort(b.Addr)
	conf := append([]string{
		"[databases]", fmt.Sprintf("* = host=127.0.0.1 port=%s", s.Port()),
		"[pgbouncer]", "listen_addr=127.0.0.1", "listen_port=" + port, "unix_socket_dir=", "pool_mode=" + mode,
		"auth_type=scram-sha-256", "auth_file=" + test.WriteFile(t, dir, "users", users.String()),
	}, settings...)
	test.WriteFile(t, dir, "pgbouncer.ini", strings.Join(conf, "\n")+"\n")
	b.Start(t)
	return b
}

// Start starts PgBouncer again after Kill, and waits until it listens.
func (b *PgBouncerProxy) Start(t test.T) {
	t.Helper()
	program, err := test.LookPath("pgbouncer")
	if err != nil {
		t.Fatalf("%v", err)
	}
	cmd := exec.Command(program, b.file)
	unprivileged(cmd)
	b.process = test.Start(t, cmd)
	test.Await(t, b.process, serverStart, "wait for the port of PgBouncer", test.Dial(b.Addr))
}

// Move makes PgBouncer use another server for later transactions.
func (b *PgBouncerProxy) Move(t test.T, from, to *PostgresServer) {
	t.Helper()
	text, err := os.ReadFile(b.file)
	if err != nil {
		t.Fatalf("%v", err)
	}
	changed := strings.Replace(string(text), "port="+from.Port()+"\n", "port="+to.Port()+"\n", 1)
	if err := os.WriteFile(b.file, []byte(changed), 0o644); err != nil {
		t.Fatalf("%v", err)
	}
	if err := b.process.Signal(syscall.SIGHUP); err != nil {
		t.Fatalf("reload PgBouncer: %v", err)
	}
}

// Kill ends PgBouncer with SIGKILL.
func (b *PgBouncerProxy) Kill() { b.process.Kill() }

// Pause pauses PgBouncer, as Process.Pause does.
func (b *PgBouncerProxy) Pause(t test.T) { t.Helper(); b.process.Pause(t) }

// Continue continues a paused PgBouncer.
func (b *PgBouncerProxy) Continue(t test.T) { t.Helper(); b.process.Continue(t) }

// Output returns the log of PgBouncer since its last start.
func (b *PgBouncerProxy) Output() string { return b.process.Output() }
