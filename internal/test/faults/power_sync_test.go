package faults

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/powerfs"
)

// These tests have one sync fail, and lose all that is not durable in a power
// loss soon after. No chance is in them.

// newQuietRig is newRig without load: the test sends each message.
func newQuietRig(t *testing.T, m medium) *rig {
	t.Helper()
	return newRig(t, m, rand.New(rand.NewPCG(1, 1)), &ledger{})
}

// send sends one message of about this many bytes and returns the reply's code.
func (p *rig) send(t *testing.T, size int) int {
	t.Helper()
	code, err := p.load.Send(size)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log())
	}
	return code
}

// sendUntil250 sends messages until n have been accepted.
func (p *rig) sendUntil250(t *testing.T, n, size int) {
	t.Helper()
	for range n {
		test.Await(t, p.d.Process(), recoveryMost, "no message is accepted", func() error {
			if code := p.send(t, size); code != 250 {
				return fmt.Errorf("reply %d\n%s", code, p.log())
			}
			return nil
		})
	}
}

// dropUnsynced cuts the power and compares.
func (p *rig) dropUnsynced(t *testing.T) {
	t.Helper()
	p.fs.Cut(powerfs.Drop)
	p.d.Kill()
	p.medium.end()
	p.fs.Heal()
	p.fs.Remount(t)
	p.medium.begin(t, p)
	p.audit(t, p.ledger.of(t.Name()))
	p.d.Start(t)
	p.sendUntil250(t, 1, 100)
	p.audit(t, p.ledger.of(t.Name()))
}

func (p *rig) fault(op powerfs.Op, match string, nth, count int) *powerfs.Injection {
	return p.fs.Inject(powerfs.Fault{Op: op, Match: match, Nth: nth, Count: count, Errno: syscall.EIO, Lost: true})
}

// The frames that a failed sync has lost are a hole in the WAL. If the checkpoint
// of the close fails as well, the WAL stays, and what follows the hole is
// unreachable after a power loss, however well it was synced.
func TestFailedSyncOfWAL(t *testing.T) {
	for _, test := range []struct {
		name, match string
		count       int // 0 is until the reply
		reply       int // 250 if the file can be made durable in time, and the message found in it
	}{
		{"once", "mail.db-wal", 1, 250},
		{"and at the close", "mail.db-wal", 0, 451},
		{"and of the file", "mail.db*", 0, 451},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newQuietRig(t, &sqliteMedium{})
			p.d.Start(t)
			p.sendUntil250(t, 1, 100)
			f := p.fault(powerfs.Sync, test.match, 1, test.count)
			if code := p.send(t, 100); code != test.reply || f.Hits() == 0 {
				t.Errorf("reply %d to a message whose sync failed, want %d; %d failures", code, test.reply, f.Hits())
			}
			f.Clear()
			p.sendUntil250(t, 3, 100)
			p.dropUnsynced(t)
		})
	}
}

// Pages that an unfinished checkpoint has written are synced by a later one. If
// that sync fails they are in neither file once the WAL is written from its
// beginning, unless a checkpoint writes them again. A program that keeps the file
// open keeps SQLite's account of what was copied.
func TestFailedSyncOfCheckpoint(t *testing.T) {
	t.Run("alone", func(t *testing.T) { testFailedSyncOfCheckpoint(t, false) })
	t.Run("while a program has the file open", func(t *testing.T) { testFailedSyncOfCheckpoint(t, true) })
}

// readUntilSignal holds a read transaction until SIGUSR1, and the file open after
// it.
const readUntilSignal = `
import signal, sqlite3, sys, time
signal.signal(signal.SIGUSR1, lambda *_: None)
db = sqlite3.connect("file:" + sys.argv[1] + "?mode=ro", uri=True, isolation_level=None)
db.execute("BEGIN")
db.execute("SELECT count(*) FROM new_mail").fetchone()
print("reads", flush=True)
signal.pause()
db.execute("COMMIT")
print("has ended", flush=True)
time.sleep(600)`

func testFailedSyncOfCheckpoint(t *testing.T, open bool) {
	const size = 300_000 // of which some messages are not worth a checkpoint, and twenty are
	test.Need(t, "python3")
	p := newQuietRig(t, &sqliteMedium{})
	p.d.Start(t)
	p.sendUntil250(t, 5, size)

	// A reader keeps the checkpoint from its end, and from its sync.
	reader := test.Start(t, exec.Command("python3", "-c", readUntilSignal, filepath.Join(p.dir, "mail.db")))
	await := func(word string) {
		test.Await(t, reader, 20*time.Second, "the reader", func() error {
			if !strings.Contains(reader.Output(), word) {
				return fmt.Errorf("%s", reader.Output())
			}
			return nil
		})
	}
	await("reads")
	written := p.fs.Inject(powerfs.Fault{Op: powerfs.Write, Match: "mail.db"})
	p.sendUntil250(t, 20, size)
	awaitQuiet(t, written)
	if open {
		if err := reader.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		await("has ended")
	} else {
		reader.Kill()
	}

	f := p.fault(powerfs.Sync, "mail.db", 1, 1)
	evicted := make(chan struct{})
	go func() { // what is lost is not in the page cache for long
		defer close(evicted)
		for range 5000 {
			if f.Hits() > 0 {
				p.fs.Evict()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	p.sendUntil250(t, 20, size)
	<-evicted
	test.Await(t, nil, 10*time.Second, "no checkpoint fails", func() error {
		if f.Hits() == 0 {
			return fmt.Errorf("no sync of the file")
		}
		return nil
	})
	for range 4 { // a checkpoint that succeeds, and a WAL that begins again
		p.sendUntil250(t, 20, size)
		awaitQuiet(t, written)
	}
	reader.Kill()
	p.dropUnsynced(t)
}

// awaitQuiet waits until operations have been counted, and no more are for a
// moment.
func awaitQuiet(t *testing.T, i *powerfs.Injection) {
	t.Helper()
	for before, began := 0, time.Now(); time.Since(began) < 10*time.Second; {
		time.Sleep(200 * time.Millisecond)
		now := i.Hits()
		if now > 0 && now == before {
			return
		}
		before = now
	}
}

// A new file, or a new WAL, is durable when its directory is synced. If that
// sync fails, it must be repeated before the first 250.
func TestFailedSyncOfSQLiteDirectory(t *testing.T) {
	for nth, synced := 1, true; synced; nth++ {
		t.Run(fmt.Sprint(nth), func(t *testing.T) {
			synced = false // also if the test is skipped
			p := newQuietRig(t, &sqliteMedium{})
			f := p.fault(powerfs.SyncDir, "spool", nth, 1)
			p.d.Start(t)
			p.sendUntil250(t, 3, 100)
			synced = f.Hits() > 0
			p.dropUnsynced(t)
		})
	}
}

// The same for the directory that the file is to lie in, which the daemon makes.
func TestFailedSyncOfSQLiteParent(t *testing.T) {
	p := newQuietRig(t, &sqliteMedium{sub: "sub"})
	f := p.fault(powerfs.SyncDir, "spool", 1, 1)
	p.d.Start(t)
	p.sendUntil250(t, 3, 100)
	if f.Hits() == 0 {
		t.Error("the parent directory is not synced")
	}
	p.dropUnsynced(t)
}

// A Maildir and its three directories are durable when their parents are synced.
func TestFailedSyncOfMaildirParent(t *testing.T) {
	for _, match := range []string{"spool", "Maildir"} {
		for nth, synced := 1, true; synced; nth++ {
			t.Run(fmt.Sprint(match, nth), func(t *testing.T) {
				synced = false // also if the test is skipped
				p := newQuietRig(t, &maildirMedium{})
				f := p.fault(powerfs.SyncDir, match, nth, 1)
				p.d.Start(t)
				p.sendUntil250(t, 3, 100)
				if synced = f.Hits() > 0; !synced && nth == 1 {
					t.Error("the parent directory is not synced")
				}
				p.dropUnsynced(t)
			})
		}
	}
}

// The names in new are durable when the directory is synced.
func TestFailedSyncOfMaildirNew(t *testing.T) {
	p := newQuietRig(t, &maildirMedium{})
	p.d.Start(t)
	p.sendUntil250(t, 1, 100)
	f := p.fault(powerfs.SyncDir, "new", 1, 1)
	if code := p.send(t, 100); code/100 != 4 || f.Hits() != 1 {
		t.Errorf("reply %d to a message whose sync failed, %d failures", code, f.Hits())
	}
	p.fault(powerfs.Sync, "*", 1, 1)
	if code := p.send(t, 100); code/100 != 4 {
		t.Errorf("reply %d to a message whose sync failed", code)
	}
	p.sendUntil250(t, 1, 100)
	p.dropUnsynced(t)
}
