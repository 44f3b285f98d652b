package faults

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/powerfs"
	"goguerrillad/internal/test/servers"
)

// A mariaDBMedium is a MariaDB server on a journaling file system.
type mariaDBMedium struct {
	evict  bool
	server *servers.MariaDBServer // nil until the first begin
	db     *sql.DB
}

func (m *mariaDBMedium) options() powerfs.Options {
	return powerfs.Options{Names: powerfs.Journaled, Evict: m.evict}
}

// begin starts the server, which recovers its files.
func (m *mariaDBMedium) begin(t *testing.T, p *powerTest) {
	t.Helper()
	if m.server != nil {
		m.start(t)
		return
	}
	// The server's socket is not on the file system that loses its power.
	dir := test.PublicDir(t)
	if err := os.Symlink(p.dir, filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	m.server = servers.MariaDBIn(t, dir, "--innodb-flush-method=fsync", "--innodb-use-native-aio=0", "--innodb-log-file-size=8M")
	m.server.CreateTable(t, "new_mail")
	m.db = m.server.Connect(t)
	// The server syncs new accounts only later, so the test stops it and syncs all files.
	m.server.Stop()
	err := filepath.WalkDir(p.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && (d.IsDir() || d.Type().IsRegular()) {
			syncDir(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	m.start(t)
}

func (m *mariaDBMedium) start(t *testing.T) {
	t.Helper()
	m.server.Start(t)
	test.Await(t, nil, time.Minute, "connecting to MariaDB", m.db.Ping)
}

// abandon cuts the power while the server recovers.
func (m *mariaDBMedium) abandon(t *testing.T, p *powerTest) {
	t.Helper()
	for range 1 + p.rand.IntN(2) {
		m.server.Launch(t)
		time.Sleep(p.wait(time.Second))
		p.fs.Cut(p.mode())
		m.server.Kill()
		p.fs.Remount(t)
	}
}

// restartEnded starts a server that has ended because of a disk error. It first drops the
// page cache: the server would otherwise recover from cached data that a failed sync has not
// written, and the next power loss would lose that data. MariaDB's default, direct I/O, does
// not use the page cache.
func (m *mariaDBMedium) restartEnded(t *testing.T, p *powerTest) {
	t.Helper()
	if m.server.Ended() {
		p.fs.DropCaches()
		m.start(t)
	}
}

func (m *mariaDBMedium) end() {
	if m.server != nil {
		m.server.Kill()
	}
}

func (m *mariaDBMedium) keys(*powerTest) map[string]string { return m.server.Keys() }

func (m *mariaDBMedium) collect(t *testing.T, p *powerTest) error {
	t.Helper()
	var table, op, kind, text string
	if err := m.db.QueryRow("CHECK TABLE new_mail EXTENDED").Scan(&table, &op, &kind, &text); err != nil {
		return fmt.Errorf("CHECK TABLE: %w", err)
	} else if text != "OK" {
		return fmt.Errorf("CHECK TABLE: %s: %s", kind, text)
	}
	p.load.Collect(t, m.db, "new_mail")
	return nil
}

func (m *mariaDBMedium) moments() []powerfs.Fault {
	return []powerfs.Fault{
		{Op: powerfs.Sync, Match: "ib_logfile0", Nth: 200},
		{Op: powerfs.Write, Match: "ib_logfile0", Nth: 300},
		{Op: powerfs.Sync, Match: "*.ibd", Nth: 5},
		{Op: powerfs.Write, Match: "*.ibd", Nth: 100},
		{Op: powerfs.Write, Match: "ibdata1", Nth: 50},
	}
}

// failures returns no partial write to a tablespace, only lost writes. After a partial
// write InnoDB continues and may reuse the page's slot in the doublewrite buffer; if the
// power is then lost, MariaDB 10.11 does not start, which the daemon cannot prevent.
func (m *mariaDBMedium) failures() []failure {
	return []failure{
		{"sync of the redo log", false, powerfs.Fault{Op: powerfs.Sync, Match: "ib_logfile0", Nth: 50}},
		{"write to the redo log", false, powerfs.Fault{Op: powerfs.Write, Match: "ib_logfile0", Nth: 50}},
		{"sync of the tablespaces", false, powerfs.Fault{Op: powerfs.Sync, Match: "*.ibd", Nth: 3}},
		{"write to the tablespaces", false, powerfs.Fault{Op: powerfs.Write, Match: "*.ibd", Nth: 20, Lost: true}},
		{"sync of the system tablespace", false, powerfs.Fault{Op: powerfs.Sync, Match: "ibdata1", Nth: 3}},
		{"every sync", false, powerfs.Fault{Op: powerfs.Sync, Nth: 50}},
	}
}

func mariaDBMedia() func() medium {
	i := 0
	return func() medium {
		i++
		return &mariaDBMedium{evict: i%2 == 0}
	}
}

func TestPowerLossMariaDB(t *testing.T) {
	powerLoss(t, "MariaDB", cuts(10, 200), mariaDBMedia())
}

func TestPowerFaultsMariaDB(t *testing.T) {
	powerFaults(t, "MariaDB", cuts(6, 100), mariaDBMedia())
}
