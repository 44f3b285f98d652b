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

// sqliteFaults returns the faults of an SQLite file and of its disk.
func (w *faultTest) sqliteFaults(disk *servers.Disk) []fault {
	const subject = "SQLite"
	var locked *sql.Conn
	return []fault{
		{
			name: "disk of SQLite full", subject: subject, times: 50, exclusive: true,
			start: func(t *testing.T) {
				disk.Fill(t)
				w.load.AwaitRefusal(t)
			},
			duration: func() time.Duration { return between(w.rand, 0, time.Second) },
			end:      func(t *testing.T) { disk.Empty(t) },
		},
		{
			name: "disk of SQLite read-only", subject: subject, times: 50, exclusive: true,
			start: func(t *testing.T) {
				disk.Fail(t)
				w.load.AwaitRefusal(t)
			},
			end: func(t *testing.T) { disk.Repair(t) },
		},
		{
			name: "SQLite locked by another process", subject: subject, times: 20, exclusive: true,
			start: func(t *testing.T) {
				test.Await(t, nil, 20*time.Second, "locking the file", func() (err error) {
					if locked, err = w.db.Conn(t.Context()); err != nil {
						return err
					}
					if _, err = locked.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
						locked.Close()
					}
					return err
				})
			},
			duration: func() time.Duration { return between(w.rand, 0, 8*time.Second) },
			end: func(t *testing.T) {
				if _, err := locked.ExecContext(t.Context(), "ROLLBACK"); err != nil {
					t.Error(err)
				}
				locked.Close()
			},
		},
	}
}

// openFile opens the SQLite file of a daemon. The audit reads its rows and deletes them.
func openFile(t *testing.T, d *daemon.Daemon) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", fmt.Sprintf("file:%s?_pragma=busy_timeout(10000)", d.Keys["SQLITE_FILE"]))
	if err != nil {
		t.Fatal(err)
	}
	// An idle connection would keep the disk busy when the test unmounts it.
	db.SetMaxIdleConns(-1)
	t.Cleanup(func() { db.Close() })
	return db
}

// TestFaultsSQLite applies the faults of a daemon with SQLite and a log file.
func TestFaultsSQLite(t *testing.T) {
	d := shared.Daemon(t, nil)
	disk, log := servers.NewDisk(t, 256), servers.NewDisk(t, 64)
	cert := test.NewCertificate(t, d.Dir, "mx")
	d.Configure(t, map[string]string{
		"SQLITE_FILE": filepath.Join(disk.Dir, "mail.db"), "GM_MIN_FREE": "0", "GSMTP_LOG_FILE": filepath.Join(log.Dir, "mail.log"),
		"GSMTP_TIMEOUT": "30", "GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile,
	})
	fewDescriptors(d)
	d.Start(t)
	w := &faultTest{parent: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, db: openFile(t, d), log: d.Keys["GSMTP_LOG_FILE"]}
	w.startLoad(t)
	faults := w.daemonFaults(d, cert)
	faults = append(faults, w.sqliteFaults(disk)...)
	faults = append(faults, w.logFaults(d, log)...)
	w.run(t, faults)
}
