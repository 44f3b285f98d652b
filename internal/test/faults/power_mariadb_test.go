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

// mariaDBMedium is a MariaDB on a journaling file system.
type mariaDBMedium struct {
	evict bool
	m     *servers.MariaDBServer // nil until the first begin
	db    *sql.DB
}

func (m *mariaDBMedium) options() powerfs.Options {
	return powerfs.Options{Names: powerfs.Journaled, Evict: m.evict}
}

// begin starts the server, which recovers.
func (m *mariaDBMedium) begin(t *testing.T, p *rig) {
	t.Helper()
	if m.m != nil {
		m.start(t)
		return
	}
	// The socket stays outside.
	dir := test.PublicDir(t)
	if err := os.Symlink(p.dir, filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	m.m = servers.MariaDBIn(t, dir, "--innodb-flush-method=fsync", "--innodb-use-native-aio=0", "--innodb-log-file-size=8M")
	m.m.CreateTable(t, "new_mail")
	m.db = m.m.Connect(t)
	// The accounts of a server are durable some time after they were made.
	m.m.Stop()
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
	m.m.Start(t)
	test.Await(t, nil, time.Minute, "MariaDB does not answer", m.db.Ping)
}

// abandon cuts the power while the server recovers.
func (m *mariaDBMedium) abandon(t *testing.T, p *rig) {
	t.Helper()
	for range 1 + p.rand.IntN(2) {
		m.m.Launch(t)
		time.Sleep(p.wait(time.Second))
		p.fs.Cut(p.mode())
		m.m.Kill()
		p.fs.Remount(t)
	}
}

// revive starts a server that has ended because of an error of its disk. It must
// not find in the page cache what a failed sync has lost: it would recover from
// that, lose it with the power, and all that depends on it. By default MariaDB
// uses direct I/O and has no page cache; with innodb_flush_method=fsync, as
// here, the file system must be mounted again first.
func (m *mariaDBMedium) revive(t *testing.T, p *rig) {
	t.Helper()
	if m.m.Ended() {
		p.fs.DropCaches()
		m.start(t)
	}
}

func (m *mariaDBMedium) end() {
	if m.m != nil {
		m.m.Kill()
	}
}

func (m *mariaDBMedium) keys(*rig) map[string]string { return m.m.Keys() }

func (m *mariaDBMedium) collect(t *testing.T, p *rig) error {
	t.Helper()
	var table, op, kind, text string
	if err := m.db.QueryRow("CHECK TABLE new_mail EXTENDED").Scan(&table, &op, &kind, &text); err != nil {
		return fmt.Errorf("check the table: %w", err)
	} else if text != "OK" {
		return fmt.Errorf("check the table: %s: %s", kind, text)
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

// A failed write to a tablespace writes nothing. InnoDB goes on after one, and
// may use its copy of the page in the doublewrite buffer for another page: if a
// part was written, and the power is lost before the page is written again,
// MariaDB 10.11 does not start. The daemon has no means against that.
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
