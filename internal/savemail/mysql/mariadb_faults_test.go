package mysql_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
	"goguerrillad/internal/test/storetest"
)

// A fault is a failure of a database server that can be injected and repaired.
type fault struct {
	name   string
	inject func(t *testing.T, b *testbed, l *storetest.Load)
	repair func(t *testing.T, b *testbed)
}

// faults returns the faults that need no server of their own.
func faults() []fault {
	return []fault{
		{
			"killed",
			func(_ *testing.T, b *testbed, _ *storetest.Load) { b.server.Kill() },
			func(_ *testing.T, b *testbed) { b.server.Start(b.parent) },
		},
		{
			"restarted",
			func(_ *testing.T, b *testbed, _ *storetest.Load) { b.server.Stop() },
			func(_ *testing.T, b *testbed) { b.server.Start(b.parent) },
		},
		{
			"stopped", // for longer than the reply timeout
			func(t *testing.T, b *testbed, l *storetest.Load) {
				b.server.Pause(t)
				time.Sleep(storetest.LoadTimeout/3 + time.Second) // the duration of the fault
			},
			func(t *testing.T, b *testbed) { b.server.Continue(t) },
		},
		{
			"read only",
			func(t *testing.T, b *testbed, l *storetest.Load) {
				b.server.Exec(t, "SET GLOBAL read_only=ON")
				l.AwaitFailure(t)
			},
			func(t *testing.T, b *testbed) { b.server.Exec(t, "SET GLOBAL read_only=OFF") },
		},
		{
			"out of connections",
			func(t *testing.T, b *testbed, l *storetest.Load) {
				b.server.Exec(t, "SET GLOBAL max_connections=10")
				var held []interface{ Close() error }
				t.Cleanup(func() {
					for _, c := range held {
						c.Close()
					}
				})
				for range 12 { // more than the server allows
					if c, err := b.server.ConnectUser(t).Conn(t.Context()); err == nil {
						held = append(held, c)
					}
				}
				b.killSessions(t)
				for range 12 { // before the store connects again
					if c, err := b.server.ConnectUser(t).Conn(t.Context()); err == nil {
						held = append(held, c)
					}
				}
			},
			func(t *testing.T, b *testbed) { b.server.Exec(t, "SET GLOBAL max_connections=151") },
		},
		{
			"sessions killed",
			func(t *testing.T, b *testbed, _ *storetest.Load) { b.killSessions(t) },
			func(*testing.T, *testbed) {},
		},
		{
			"statements killed",
			func(t *testing.T, b *testbed, _ *storetest.Load) {
				for _, id := range b.sessionIDs(t) {
					b.server.Exec(t, fmt.Sprintf("KILL QUERY %d", id))
				}
			},
			func(*testing.T, *testbed) {},
		},
	}
}

// killSessions kills all sessions of the daemon's user and returns their number.
func (b *testbed) killSessions(t *testing.T) int {
	t.Helper()
	ids := b.sessionIDs(t)
	for _, id := range ids {
		_, _ = b.db.Exec(fmt.Sprintf("KILL %d", id)) // fails if the session has ended
	}
	return len(ids)
}

// sessionIDs returns the ids of the sessions of the daemon's user.
func (b *testbed) sessionIDs(t *testing.T) (ids []int) {
	t.Helper()
	rows, err := b.db.Query("SELECT ID FROM information_schema.PROCESSLIST WHERE USER='goguerrilla'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// testFaults injects a fault under load, repairs it, and verifies the outcomes.
func testFaults(f fault) func(*testing.T, *testbed) {
	return func(t *testing.T, b *testbed) {
		b.create(t)
		l := storetest.StartLoad(t, b.open(t, nil), b.options().Log)
		l.AwaitProgress(t, 50)
		for range storetest.Repetitions(1, 20) {
			f.inject(t, b, l)
			f.repair(t, b)
			l.AwaitProgress(t, 50)
		}
		l.Stop(t)
		test.Await(t, nil, 10*time.Second, "the server does not reply", b.db.Ping)
		if n := l.Verify(t, b.rows(t)); n > 0 {
			t.Logf("%d failed messages are stored\n%s", n, b.log)
		}
	}
}

// TestDiskFull fills the server's disk under load, and verifies the outcomes.
func TestDiskFull(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a MariaDB")
	}
	test.NeedRoot(t)
	disk, err := os.MkdirTemp("", "ggdisk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(disk) })
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=600m"); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(disk, syscall.MNT_DETACH) })
	server := servers.MariaDBIn(t, disk, "--innodb-log-file-size=8M")
	b := &testbed{parent: t, server: server, db: server.Connect(t), table: "new_mail", log: &test.Log{}}
	ballast := filepath.Join(disk, "ballast")
	defer func() {
		if t.Failed() {
			t.Logf("%s\n%s", b.log, server.Output())
		}
	}()
	testFaults(fault{
		"disk full",
		func(t *testing.T, b *testbed, l *storetest.Load) {
			l.Supervise = func() { // MySQL ends when it cannot write its binary log
				if b.server.Ended() {
					b.server.Start(t)
				}
			}
			file, err := os.Create(ballast)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			for chunk := make([]byte, 1<<20); err == nil; {
				_, err = file.Write(chunk)
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			l.AwaitFailure(t)
		},
		func(t *testing.T, _ *testbed) {
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
		},
	})(t, b)
}
