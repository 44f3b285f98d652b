package testserver

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// TiDB starts TiDB's SQL server with the store for one process that is built
// into it. It is no MariaDB, but is used as one. make test-tidb builds it.
func TiDB(t T) *MariaDBServer {
	t.Helper()
	Need(t, "tidb-server")
	dir := shortDir(t)
	m := newMariaDB(dir, net.JoinHostPort("127.0.0.1", strconv.Itoa(FreePort(t))), nil)
	m.command = func(...string) *exec.Cmd {
		program, err := LookPath("tidb-server")
		if err != nil {
			t.Fatalf("%v", err)
		}
		// A socket's file that a crash has left is taken for a server that runs.
		os.Remove(m.Socket)
		_, port, _ := net.SplitHostPort(m.Addr)
		cmd := exec.Command(program, "-store", "unistore", "-path", m.dir, "-host", "127.0.0.1", "-P", port,
			"-socket", m.Socket, "-report-status=false", "-L", "error", "-temp-dir", filepath.Join(dir, "tmp"))
		cmd.Dir = dir
		return cmd
	}
	m.Start(t)
	m.connectRoot(t)
	Await(t, m.process, serverStart, "TiDB does not answer", func() error {
		_, err := m.root.Exec("SELECT 1")
		time.Sleep(100 * time.Millisecond)
		return err
	})
	m.addUser(t)
	return m
}
