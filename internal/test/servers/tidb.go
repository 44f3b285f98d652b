package servers

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"goguerrillad/internal/test"
)

// TiDB starts TiDB's SQL server with its built-in store, for tests that normally use
// MariaDB. make test-tidb builds it.
func TiDB(t test.T) *MariaDBServer {
	t.Helper()
	test.Need(t, "tidb-server")
	dir := test.ShortDir(t)
	m := newMariaDB(dir, net.JoinHostPort("127.0.0.1", strconv.Itoa(test.FreePort(t))), nil)
	m.command = func(...string) *exec.Cmd {
		program, err := test.LookPath("tidb-server")
		if err != nil {
			t.Fatalf("%v", err)
		}
		// TiDB takes the socket file of a crashed server for a running server.
		os.Remove(m.Socket)
		_, port, _ := net.SplitHostPort(m.Addr)
		cmd := exec.Command(program, "-store", "unistore", "-path", m.dir, "-host", "127.0.0.1", "-P", port,
			"-socket", m.Socket, "-report-status=false", "-L", "error", "-temp-dir", filepath.Join(dir, "tmp"))
		cmd.Dir = dir
		return cmd
	}
	m.Start(t)
	m.connectRoot(t)
	test.Await(t, m.process, serverStart, "wait for a reply of TiDB", func() error {
		_, err := m.root.Exec("SELECT 1")
		time.Sleep(100 * time.Millisecond)
		return err
	})
	m.addUser(t)
	return m
}
