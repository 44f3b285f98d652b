package faults

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// ofSQLite are the faults of a file and of the disk that it lies on.
func (w *world) ofSQLite(disk *servers.Disk) []fault {
	const subject = "SQLite"
	var locked *sql.Conn
	return []fault{
		{
			name: "disk of SQLite full", subject: subject, times: 50, alone: true,
			ail: func(t *testing.T) {
				disk.Fill(t)
				w.load.AwaitRefusal(t)
			},
			hold: func() time.Duration { return between(w.rand, 0, time.Second) },
			mend: func(t *testing.T) { disk.Empty(t) },
		},
		{
			name: "disk of SQLite read-only", subject: subject, times: 50, alone: true,
			ail: func(t *testing.T) {
				disk.Fail(t)
				w.load.AwaitRefusal(t)
			},
			mend: func(t *testing.T) { disk.Repair(t) },
		},
		{
			name: "SQLite locked by another process", subject: subject, times: 20, alone: true,
			ail: func(t *testing.T) {
				test.Await(t, nil, 20*time.Second, "the lock", func() (err error) {
					if locked, err = w.db.Conn(t.Context()); err != nil {
						return err
					}
					if _, err = locked.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
						locked.Close()
					}
					return err
				})
			},
			hold: func() time.Duration { return between(w.rand, 0, 8*time.Second) },
			mend: func(t *testing.T) {
				if _, err := locked.ExecContext(t.Context(), "ROLLBACK"); err != nil {
					t.Error(err)
				}
				locked.Close()
			},
		},
	}
}

// openFile opens a daemon's file for reading, and for taking the rows away.
func openFile(t *testing.T, d *daemon.Daemon) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", fmt.Sprintf("file:%s?_pragma=busy_timeout(10000)", d.Keys["SQLITE_FILE"]))
	if err != nil {
		t.Fatal(err)
	}
	// None is kept: the disk below it is taken away.
	db.SetMaxIdleConns(-1)
	t.Cleanup(func() { db.Close() })
	return db
}

// TestFaultsSQLite breaks what a daemon stands on that stores in a file.
func TestFaultsSQLite(t *testing.T) {
	d := shared.Daemon(t, nil)
	disk, log := servers.NewDisk(t, 256), servers.NewDisk(t, 64)
	cert := test.NewCertificate(t, d.Dir, "mx")
	d.Configure(t, map[string]string{
		"SQLITE_FILE": filepath.Join(disk.Dir, "mail.db"), "GSMTP_LOG_FILE": filepath.Join(log.Dir, "mail.log"),
		"GSMTP_TIMEOUT": "30", "GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile,
	})
	fewDescriptors(d)
	d.Start(t)
	w := &world{whole: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, db: openFile(t, d), log: d.Keys["GSMTP_LOG_FILE"]}
	w.startLoad(t)
	faults := w.ofDaemon(d, cert)
	faults = append(faults, w.ofSQLite(disk)...)
	faults = append(faults, w.ofLog(d, log)...)
	w.run(t, faults)
}
