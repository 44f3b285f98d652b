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

// A postgresMedium is a PostgreSQL server on a file system that promises only what POSIX does.
type postgresMedium struct {
	evict  bool
	server *servers.PostgresServer // nil until the first begin
	db     *sql.DB
}

func (m *postgresMedium) options() powerfs.Options {
	return powerfs.Options{Names: powerfs.Strict, Evict: m.evict}
}

// begin starts the server, which recovers its files.
func (m *postgresMedium) begin(t *testing.T, p *powerTest) {
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
	m.server = servers.PostgresIn(t, dir, "checkpoint_timeout=30s", "max_wal_size=64MB", "min_wal_size=32MB")
	m.server.CreateTable(t, "new_mail")
	m.db = m.server.Connect(t)
	// initdb has synced nothing, so the test stops the server and syncs all files.
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

func (m *postgresMedium) start(t *testing.T) {
	t.Helper()
	m.server.Start(t)
	test.Await(t, nil, time.Minute, "connecting to PostgreSQL", m.db.Ping)
}

// abandon cuts the power while the server recovers.
func (m *postgresMedium) abandon(t *testing.T, p *powerTest) {
	t.Helper()
	for range 1 + p.rand.IntN(2) {
		m.server.Launch(t)
		time.Sleep(p.wait(time.Second))
		p.fs.Cut(p.mode())
		m.server.Kill()
		p.fs.Remount(t)
	}
}

// restartEnded starts a server that has ended because its recovery failed as well. After a
// failed write or sync of its log the server recovers without an end of its main process.
func (m *postgresMedium) restartEnded(t *testing.T, _ *powerTest) {
	t.Helper()
	if m.server.Ended() {
		m.start(t)
	}
}

func (m *postgresMedium) end() {
	if m.server != nil {
		m.server.Kill()
	}
}

func (m *postgresMedium) keys(*powerTest) map[string]string { return m.server.Keys() }

// collect reads every row and the index, and returns an error if a page or the index is damaged.
func (m *postgresMedium) collect(t *testing.T, p *powerTest) error {
	t.Helper()
	if _, err := m.db.Exec("CREATE EXTENSION IF NOT EXISTS amcheck"); err != nil {
		return fmt.Errorf("install amcheck: %w", err)
	}
	_, err := m.db.Exec("SELECT bt_index_check(indexrelid, true) FROM pg_index WHERE indrelid='new_mail'::regclass")
	if err != nil {
		return fmt.Errorf("check the indexes: %w", err)
	}
	var damage int
	err = m.db.QueryRow("SELECT count(*) FROM verify_heapam('new_mail', check_toast => true)").Scan(&damage)
	if err == nil && damage > 0 {
		err = fmt.Errorf("%d errors", damage)
	}
	if err != nil {
		return fmt.Errorf("check the table: %w", err)
	}
	p.load.Collect(t, m.db, "new_mail")
	return nil
}

// The files of a data directory.
const (
	postgresWAL   = "spool/pg_wal/0*"
	postgresData  = "spool/base/*/*"
	postgresState = "spool/pg_xact/*" // the outcomes of transactions
)

func (m *postgresMedium) moments() []powerfs.Fault {
	return []powerfs.Fault{
		{Op: powerfs.Sync, Match: postgresWAL, Nth: 200},
		{Op: powerfs.Write, Match: postgresWAL, Nth: 300},
		{Op: powerfs.Sync, Match: postgresData, Nth: 5},
		{Op: powerfs.Write, Match: postgresData, Nth: 100},
		{Op: powerfs.Write, Match: postgresState, Nth: 2},
		{Op: powerfs.Write, Match: "pg_control", Nth: 2},
	}
}

func (m *postgresMedium) failures() []failure {
	return []failure{
		{"sync of the log", false, powerfs.Fault{Op: powerfs.Sync, Match: postgresWAL, Nth: 50}},
		{"write to the log", false, powerfs.Fault{Op: powerfs.Write, Match: postgresWAL, Nth: 50}},
		{"sync of the tables", false, powerfs.Fault{Op: powerfs.Sync, Match: postgresData, Nth: 1}},
		{"write to the tables", false, powerfs.Fault{Op: powerfs.Write, Match: postgresData, Nth: 20}},
		{"write to the outcomes", false, powerfs.Fault{Op: powerfs.Write, Match: postgresState, Nth: 1}},
		{"sync of the outcomes", false, powerfs.Fault{Op: powerfs.Sync, Match: postgresState, Nth: 1}},
		{"every sync", false, powerfs.Fault{Op: powerfs.Sync, Nth: 50}},
	}
}

func postgresMedia() func() medium {
	i := 0
	return func() medium {
		i++
		return &postgresMedium{evict: i%2 == 0}
	}
}

func TestPowerLossPostgres(t *testing.T) {
	powerLoss(t, "PostgreSQL", cuts(10, 200), postgresMedia())
}

func TestPowerFaultsPostgres(t *testing.T) {
	powerFaults(t, "PostgreSQL", cuts(6, 100), postgresMedia())
}
