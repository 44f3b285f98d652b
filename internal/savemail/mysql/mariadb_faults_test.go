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
)

// A fault is something that befalls a database now and then.
type fault struct {
	name string
	ail  func(t *testing.T, b *bench, l *load)
	mend func(t *testing.T, b *bench)
}

// faults are those that can strike again and again.
func faults() []fault {
	return []fault{
		{
			"killed",
			func(_ *testing.T, b *bench, _ *load) { b.server.Kill() },
			func(_ *testing.T, b *bench) { b.server.Start(b.whole) },
		},
		{
			"restarted",
			func(_ *testing.T, b *bench, _ *load) { b.server.Stop() },
			func(_ *testing.T, b *bench) { b.server.Start(b.whole) },
		},
		{
			"stopped", // longer than an answer is waited for
			func(t *testing.T, b *bench, l *load) {
				b.server.Pause(t)
				time.Sleep(loadTimeout/3 + time.Second) // the fault's own length
			},
			func(t *testing.T, b *bench) { b.server.Continue(t) },
		},
		{
			"read only",
			func(t *testing.T, b *bench, l *load) {
				b.server.Exec(t, "SET GLOBAL read_only=ON")
				l.refusal(t)
			},
			func(t *testing.T, b *bench) { b.server.Exec(t, "SET GLOBAL read_only=OFF") },
		},
		{
			"out of connections",
			func(t *testing.T, b *bench, l *load) {
				b.server.Exec(t, "SET GLOBAL max_connections=10")
				var held []interface{ Close() error }
				t.Cleanup(func() {
					for _, c := range held {
						c.Close()
					}
				})
				for range 12 { // the server has room for a few only
					if c, err := b.server.ConnectUser(t).Conn(t.Context()); err == nil {
						held = append(held, c)
					}
				}
				b.kill(t)
				for range 12 { // before the daemon comes back
					if c, err := b.server.ConnectUser(t).Conn(t.Context()); err == nil {
						held = append(held, c)
					}
				}
			},
			func(t *testing.T, b *bench) { b.server.Exec(t, "SET GLOBAL max_connections=151") },
		},
		{
			"sessions killed",
			func(t *testing.T, b *bench, _ *load) { b.kill(t) },
			func(*testing.T, *bench) {},
		},
		{
			"statements killed",
			func(t *testing.T, b *bench, _ *load) {
				for _, id := range b.ids(t) {
					b.server.Exec(t, fmt.Sprintf("KILL QUERY %d", id))
				}
			},
			func(*testing.T, *bench) {},
		},
	}
}

// kill ends all sessions of the daemon's user.
func (b *bench) kill(t *testing.T) {
	for _, id := range b.ids(t) {
		// It may have ended by itself, which is as good.
		_, _ = b.db.Exec(fmt.Sprintf("KILL %d", id))
	}
}

// ids returns the sessions of the daemon's user.
func (b *bench) ids(t *testing.T) (ids []int) {
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

// testFaults has a fault strike again and again while mail streams in, and
// prints what came of it.
func testFaults(f fault) func(*testing.T, *bench) {
	return func(t *testing.T, b *bench) {
		b.create(t)
		l := startLoad(b.open(t, nil), b)
		l.progress(t, 50)
		for range times(1, 20) {
			f.ail(t, b, l)
			f.mend(t, b)
			l.progress(t, 50)
		}
		l.stop(t)
		test.Await(t, nil, 10*time.Second, "the server is away", b.db.Ping)
		if n := l.check(t, b); n > 0 {
			t.Logf("%d mails are stored though their senders were told to try again\n%s", n, b.log)
		}
	}
}

// TestDiskFull fills the disk under a server while mail streams in.
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
	b := &bench{whole: t, server: server, db: server.Connect(t), table: "new_mail", log: &test.Log{}}
	ballast := filepath.Join(disk, "ballast")
	testFaults(fault{
		"disk full",
		func(t *testing.T, _ *bench, l *load) {
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
			l.refusal(t)
		},
		func(t *testing.T, _ *bench) {
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
		},
	})(t, b)
}
