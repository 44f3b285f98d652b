// Package servers starts the servers that tests need: each in a temporary
// directory, on a free port, stopped with the test.
package servers

import (
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"

	"goguerrillad/internal/test"
)

// A MariaDBServer is a MariaDB for a test. It has the default durability, a database, and
// a user for the daemon with exactly the rights in the manual. Its TCP port and its unix
// socket stay the same after a restart.
type MariaDBServer struct {
	Addr   string // address:port, on loopback
	Socket string // path of the unix socket

	User, Pass string // of the daemon
	DB         string // an empty database

	process *test.Process
	command func(once ...string) *exec.Cmd // of the server; once are options for one start
	user    string                         // user to switch to when root starts it; "" = root
	dir     string
	options []string
	env     []string // in addition to the environment of the test
	galera  bool     // a node of a cluster
	root    *sql.DB
}

// serverStart bounds the start of a server, which is slow on a busy machine.
const serverStart = 60 * time.Second

// MariaDB starts a server with additional options of mariadbd, such as
// "--max-connections=5".
func MariaDB(t test.T, options ...string) *MariaDBServer {
	t.Helper()
	return MariaDBIn(t, test.ShortDir(t), options...)
}

// MariaDBIn starts a server with all of its files in dir, whose path must be short.
func MariaDBIn(t test.T, dir string, options ...string) *MariaDBServer {
	t.Helper()
	return startMariaDB(t, dir, options, nil)
}

// MariaDBWithEnv starts a server with additional environment variables.
func MariaDBWithEnv(t test.T, env []string) *MariaDBServer {
	t.Helper()
	return startMariaDB(t, test.ShortDir(t), nil, env)
}

func startMariaDB(t test.T, dir string, options, env []string) *MariaDBServer {
	t.Helper()
	NeedMariaDB(t)
	m := newMariaDB(dir, net.JoinHostPort("127.0.0.1", strconv.Itoa(test.FreePort(t))), options)
	m.env = env
	m.install(t)
	m.Start(t)
	m.connectRoot(t)
	m.addUser(t)
	return m
}

func newMariaDB(dir, addr string, options []string) *MariaDBServer {
	m := &MariaDBServer{
		Addr:    addr,
		Socket:  filepath.Join(dir, "sock"),
		User:    "goguerrilla",
		Pass:    "pass \"word\" @:/?#\u00fc",
		DB:      "mail",
		dir:     filepath.Join(dir, "data"),
		options: options,
	}
	m.command = m.mariadbd
	return m
}

// account returns the option for the user of the server. Without it the server refuses to
// run as root.
func (m *MariaDBServer) account() string {
	switch {
	case os.Geteuid() != 0:
		return "--user=" + strconv.Itoa(os.Geteuid())
	case m.user != "":
		return "--user=" + m.user
	}
	return "--user=root"
}

func (m *MariaDBServer) install(t test.T) {
	t.Helper()
	if MySQL {
		m.initialize(t)
		return
	}
	program, err := test.LookPath("mariadb-install-db")
	if err != nil {
		t.Fatalf("%v", err)
	}
	cmd := exec.Command(program, "--no-defaults", m.account(), "--datadir="+m.dir,
		"--auth-root-authentication-method=normal", "--skip-test-db")
	cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Dir(m.Socket)) // see --tmpdir in mariadbd
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
}

// Start starts the server again after Kill or Stop, and waits until it accepts
// connections.
func (m *MariaDBServer) Start(t test.T) {
	t.Helper()
	m.start(t)
}

func (m *MariaDBServer) start(t test.T, once ...string) {
	t.Helper()
	for attempt := 1; ; attempt++ {
		m.endTransfer(t)
		m.process = test.Start(t, m.command(once...))
		if !m.galera || attempt == maxStarts || m.listens() {
			break
		}
		t.Logf("the node %s has ended, starting it again", m.Addr)
		time.Sleep(startPause)
	}
	test.Await(t, m.process, serverStart, "wait for the port of MariaDB", test.Dial(m.Addr))
}

// A node of a cluster that exits is started again, as a service manager would do. It exits
// if its donor has ended, for example.
const (
	maxStarts    = 5
	startPause   = 3 * time.Second
	transferTime = 2 * time.Minute // for the complete state of the cluster, while other tests run
)

// endTransfer ends the rsync that was receiving the state of the cluster for a killed node.
// It would keep an address of the node in use.
func (m *MariaDBServer) endTransfer(t test.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, "rsync_sst.pid"))
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || strings.TrimSpace(string(name)) != "rsync" {
		return
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatalf("end rsync: %v", err)
	}
}

// listens waits until the server listens, and returns false if it ends or takes too
// long.
func (m *MariaDBServer) listens() bool {
	for deadline := time.Now().Add(transferTime); time.Now().Before(deadline); {
		if test.Dial(m.Addr)() == nil {
			return true
		}
		select {
		case <-m.process.Done():
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	m.process.Kill()
	return false
}

// mariadbd returns the command of the server.
func (m *MariaDBServer) mariadbd(once ...string) *exec.Cmd {
	host, port, _ := net.SplitHostPort(m.Addr)
	// A server that starts removes all temporary tables in its tmpdir. If another server
	// used them, it would crash.
	args := append([]string{"--no-defaults", m.account(), "--datadir=" + m.dir, "--socket=" + m.Socket, "--tmpdir=" + filepath.Dir(m.Socket),
		"--bind-address=" + host, "--port=" + port, "--innodb-buffer-pool-size=64M"}, m.kindOptions()...)
	cmd := exec.Command(m.program(), append(args, once...)...)
	cmd.Env = append(os.Environ(), m.env...)
	return cmd
}

// connectRoot opens the connections of Exec and QueryRow, as root by the unix socket.
func (m *MariaDBServer) connectRoot(t test.T) {
	t.Helper()
	m.root = m.connect(t, "root", "", "", nil)
	test.Await(t, m.process, serverStart, "wait for a reply of MariaDB", m.root.Ping)
}

func (m *MariaDBServer) connect(t test.T, user, pass, db string, params map[string]string) *sql.DB {
	t.Helper()
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName, c.Net, c.Addr = user, pass, db, "unix", m.Socket
	c.Logger = &mysql.NopLogger{}
	c.Params = params
	connector, err := mysql.NewConnector(c)
	if err != nil {
		t.Fatalf("%v", err)
	}
	pool := sql.OpenDB(connector)
	t.Cleanup(func() { pool.Close() })
	return pool
}

// Connect returns a pool of connections of root, by the unix socket. On a node of a
// cluster, their statements see all earlier transactions of the other nodes.
func (m *MariaDBServer) Connect(t test.T) *sql.DB {
	t.Helper()
	var params map[string]string
	if m.galera {
		params = map[string]string{"wsrep_sync_wait": "7"}
	}
	return m.connect(t, "root", "", m.DB, params)
}

// ConnectUser is Connect for the daemon's user.
func (m *MariaDBServer) ConnectUser(t test.T) *sql.DB {
	t.Helper()
	return m.connect(t, m.User, m.Pass, m.DB, nil)
}

// Exec executes statements as root.
func (m *MariaDBServer) Exec(t test.T, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := m.root.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// QueryRow reads one value as root.
func (m *MariaDBServer) QueryRow(t test.T, query string, into any) {
	t.Helper()
	if err := m.root.QueryRow(query).Scan(into); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// Port returns the TCP port.
func (m *MariaDBServer) Port() string {
	_, port, _ := net.SplitHostPort(m.Addr)
	return port
}

// Launch starts the server and does not wait.
func (m *MariaDBServer) Launch(t test.T) { t.Helper(); m.process = test.Start(t, m.command()) }

// Ended reports whether the server has ended.
func (m *MariaDBServer) Ended() bool {
	select {
	case <-m.process.Done():
		return true
	default:
		return false
	}
}

// Kill ends the server with SIGKILL.
func (m *MariaDBServer) Kill() { m.process.Kill() }

// Stop shuts the server down.
func (m *MariaDBServer) Stop() error { return m.process.Stop() }

// Pause pauses the server, as Process.Pause does.
func (m *MariaDBServer) Pause(t test.T) { t.Helper(); m.process.Pause(t) }

// Continue continues a paused server.
func (m *MariaDBServer) Continue(t test.T) { t.Helper(); m.process.Continue(t) }

// Pid returns the id of the server's process.
func (m *MariaDBServer) Pid() int { return m.process.Cmd.Process.Pid }

// DataDir returns the data directory of the server.
func (m *MariaDBServer) DataDir() string { return m.dir }

// Output returns the log of the server since its last start.
func (m *MariaDBServer) Output() string { return m.process.Output() }
