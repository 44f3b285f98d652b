package faults

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/load"
	"goguerrillad/internal/test/powerfs"
)

// A sqliteMedium is an SQLite file on the strictest file system: after a power loss, only
// synced files and names are certain to exist.
type sqliteMedium struct {
	evict, query, reader bool
	sub                  string        // a directory that the daemon must create, or ""
	other                *test.Process // another process that reads the file, or nil
}

func (m *sqliteMedium) options() powerfs.Options { return powerfs.Options{Evict: m.evict} }

func (m *sqliteMedium) begin(t *testing.T, p *powerTest) {
	if m.reader && p.maybe(5) {
		test.Need(t, "python3")
		m.other = test.Start(t, exec.Command("python3", "-c", readerScript, m.file(p)))
	}
}

// readerScript waits for a file and then runs read transactions of random durations.
const readerScript = `
import random, sqlite3, sys, time
while True:
    try:
        db = sqlite3.connect("file:" + sys.argv[1] + "?mode=ro", uri=True, isolation_level=None)
        for _ in range(5):
            db.execute("BEGIN")
            db.execute("SELECT count(*) FROM new_mail").fetchone()
            time.sleep(random.random() / 5)
            db.execute("COMMIT")
        db.close()
    except sqlite3.Error:
        time.sleep(0.02)
`

func (m *sqliteMedium) abandon(*testing.T, *powerTest)      {} // the daemon recovers the file
func (m *sqliteMedium) restartEnded(*testing.T, *powerTest) {}

func (m *sqliteMedium) end() {
	if m.other != nil {
		m.other.Kill()
		m.other = nil
	}
}

func (m *sqliteMedium) file(p *powerTest) string { return filepath.Join(p.dir, m.sub, "mail.db") }

func (m *sqliteMedium) keys(p *powerTest) map[string]string {
	keys := map[string]string{"SQLITE_FILE": m.file(p)}
	if m.query {
		keys["GM_RECIPIENT_QUERY"] = "SELECT COUNT(*) FROM sqlite_master WHERE :address <> ''"
		keys["GM_RECIPIENT_CACHE_SECONDS"] = "0"
	}
	return keys
}

// collect reads a copy of the file. A connection to the file itself would recover it before
// the daemon does.
func (m *sqliteMedium) collect(t *testing.T, p *powerTest) error {
	t.Helper()
	dir := t.TempDir()
	defer os.RemoveAll(dir)
	if p.running() { // both copies must be of the same moment
		p.d.Process().Pause(t)
		defer p.d.Process().Continue(t)
	}
	for _, name := range []string{"mail.db", "mail.db-wal"} {
		if err := copyFile(filepath.Join(filepath.Dir(m.file(p)), name), filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
			if name == "mail.db" {
				p.load.Replace(nil)
				return nil
			}
		} else if err != nil {
			return err
		}
	}
	return m.read(p, filepath.Join(dir, "mail.db"))
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func (m *sqliteMedium) read(p *powerTest, file string) error {
	db, err := sql.Open("sqlite", "file:"+file)
	if err != nil {
		return err
	}
	defer db.Close()
	var state string
	damage := db.QueryRow("SELECT group_concat(integrity_check, '; ') FROM pragma_integrity_check").Scan(&state)
	if damage == nil && state != "ok" {
		damage = fmt.Errorf("%.500s", state)
	}
	if damage != nil {
		damage = fmt.Errorf("integrity_check: %w", damage)
	}
	rows, err := load.Hashes(db, "new_mail")
	if err != nil && strings.Contains(err.Error(), "no such table") {
		err = nil // either the power was cut before the table was created, or the audit finds that all rows are lost
	}
	p.load.Replace(rows) // the readable rows
	return errors.Join(damage, err)
}

func (m *sqliteMedium) moments() []powerfs.Fault {
	return []powerfs.Fault{
		{Op: powerfs.Sync, Match: "mail.db", Nth: 5},
		{Op: powerfs.Write, Match: "mail.db", Nth: 20},
		{Op: powerfs.Write, Match: "mail.db", Nth: 1000},
		{Op: powerfs.Sync, Match: "mail.db-wal", Nth: 5},
		{Op: powerfs.Sync, Match: "mail.db-wal", Nth: 200},
		{Op: powerfs.Write, Match: "mail.db-wal", Nth: 2000},
		{Op: powerfs.Create | powerfs.SyncDir | powerfs.Remove | powerfs.Truncate, Nth: 4},
	}
}

func (m *sqliteMedium) failures() []failure {
	return []failure{
		{"sync of the WAL", false, powerfs.Fault{Op: powerfs.Sync, Match: "mail.db-wal", Nth: 20}},
		{"sync of the file", false, powerfs.Fault{Op: powerfs.Sync, Match: "mail.db", Nth: 2}},
		{"sync of the WAL and the file", false, powerfs.Fault{Op: powerfs.Sync, Match: "mail.db*", Nth: 20}},
		{"write to the WAL", false, powerfs.Fault{Op: powerfs.Write, Match: "mail.db-wal", Nth: 100}},
		{"write to the file", false, powerfs.Fault{Op: powerfs.Write, Match: "mail.db", Nth: 50}},
		{"sync of the directory", true, powerfs.Fault{Op: powerfs.SyncDir, Nth: 2}},
		{"open", false, powerfs.Fault{Op: powerfs.Open, Match: "mail.db*", Nth: 3}},
		{"create", true, powerfs.Fault{Op: powerfs.Create, Nth: 2}},
		{"every change", false, powerfs.Fault{Op: powerfs.Changes, Nth: 50}},
	}
}

// sqliteMedia returns a function that returns media of alternating kinds.
func sqliteMedia() func() medium {
	i := 0
	return func() medium {
		i++
		m := &sqliteMedium{query: i%2 == 0, reader: i%3 == 2, evict: i%4 >= 2}
		if i%5 == 1 {
			m.sub = "sub"
		}
		return m
	}
}

func TestPowerLossSQLite(t *testing.T) {
	powerLoss(t, "SQLite", cuts(12, 1000), sqliteMedia())
}

func TestPowerFaultsSQLite(t *testing.T) {
	powerFaults(t, "SQLite", cuts(9, 250), sqliteMedia())
}
