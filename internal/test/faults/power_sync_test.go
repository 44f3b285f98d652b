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

// In the tests of this file one sync fails, and the power is cut soon after it. The tests
// are deterministic.

// newIdlePowerTest returns a powerTest without load: the test sends each message.
func newIdlePowerTest(t *testing.T, m medium) *powerTest {
	t.Helper()
	return newPowerTest(t, m, rand.New(rand.NewPCG(1, 1)), &ledger{})
}

// send sends one message of about size bytes and returns the code of the reply.
func (p *powerTest) send(t *testing.T, size int) int {
	t.Helper()
	code, err := p.load.Send(size)
	if err != nil {
		t.Fatalf("sending a message: %v\n%s", err, p.log())
	}
	return code
}

// sendUntil250 sends messages until n have been accepted.
func (p *powerTest) sendUntil250(t *testing.T, n, size int) {
	t.Helper()
	for range n {
		test.Await(t, p.d.Process(), maxRecovery, "sending a message", func() error {
			if code := p.send(t, size); code != 250 {
				return fmt.Errorf("reply %d\n%s", code, p.log())
			}
			return nil
		})
	}
}

// dropUnsynced cuts the power, drops all data that was not synced, and audits the store
// before and after the start of the daemon.
func (p *powerTest) dropUnsynced(t *testing.T) {
	t.Helper()
	p.fs.Cut(powerfs.Drop)
	p.d.Kill()
	p.medium.end()
	p.fs.ClearFaults()
	p.fs.Remount(t)
	p.medium.begin(t, p)
	p.audit(t, p.ledger.of(t.Name()))
	p.d.Start(t)
	p.sendUntil250(t, 1, 100)
	p.audit(t, p.ledger.of(t.Name()))
}

// fault makes operations fail and lose their data.
func (p *powerTest) fault(op powerfs.Op, match string, nth, count int) *powerfs.Injection {
	return p.fs.Inject(powerfs.Fault{Op: op, Match: match, Nth: nth, Count: count, Errno: syscall.EIO, Lost: true})
}

// TestFailedSyncOfWAL: the frames that a failed sync has lost are a hole in the WAL. If the
// checkpoint at the close fails too, the WAL remains, and after a power loss SQLite cannot
// reach the frames after the hole, although they were synced.
func TestFailedSyncOfWAL(t *testing.T) {
	for _, test := range []struct {
		name, match string
		count       int // 0: until the reply
		reply       int // 250 if the daemon can make the file durable in time, and the file contains the message
	}{
		{"once", "mail.db-wal", 1, 250},
		{"until the reply", "mail.db-wal", 0, 451},
		{"until the reply, and of the file", "mail.db*", 0, 451},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newIdlePowerTest(t, &sqliteMedium{})
			p.d.Start(t)
			p.sendUntil250(t, 1, 100)
			f := p.fault(powerfs.Sync, test.match, 1, test.count)
			if code := p.send(t, 100); code != test.reply || f.Hits() == 0 {
				t.Errorf("reply %d to a message whose sync failed, want %d; %d syncs failed", code, test.reply, f.Hits())
			}
			f.Clear()
			p.sendUntil250(t, 3, 100)
			p.dropUnsynced(t)
		})
	}
}

// TestFailedSyncOfCheckpoint: a later checkpoint syncs the pages that an unfinished checkpoint
// has written. If that sync fails, the pages must be written again before the WAL restarts
// from its beginning. A program that keeps the file open keeps SQLite's record of the copied
// pages.
func TestFailedSyncOfCheckpoint(t *testing.T) {
	t.Run("no other program", func(t *testing.T) { testFailedSyncOfCheckpoint(t, false) })
	t.Run("while a program has the file open", func(t *testing.T) { testFailedSyncOfCheckpoint(t, true) })
}

// readUntilSignal runs a read transaction until SIGUSR1, and keeps the file open after it.
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
	const size = 300_000 // 5 messages cause no checkpoint, 20 messages cause one
	test.Need(t, "python3")
	p := newIdlePowerTest(t, &sqliteMedium{})
	p.d.Start(t)
	p.sendUntil250(t, 5, size)

	// While a reader runs, the checkpoint cannot finish, so it does not sync the file.
	reader := test.Start(t, exec.Command("python3", "-c", readUntilSignal, filepath.Join(p.dir, "mail.db")))
	await := func(word string) {
		test.Await(t, reader, 20*time.Second, "waiting for the reader", func() error {
			if !strings.Contains(reader.Output(), word) {
				return fmt.Errorf("output %q, want %q", reader.Output(), word)
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
	go func() { // removes the lost data from the page cache soon after the failure
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
	test.Await(t, nil, 10*time.Second, "waiting for a failed checkpoint", func() error {
		if f.Hits() == 0 {
			return fmt.Errorf("no sync of the file")
		}
		return nil
	})
	for range 4 { // until a checkpoint has succeeded and the WAL has restarted
		p.sendUntil250(t, 20, size)
		awaitQuiet(t, written)
	}
	reader.Kill()
	p.dropUnsynced(t)
}

// awaitQuiet waits until at least one operation was counted and no other operation for
// 200 ms. It waits at most 10 s.
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

// TestFailedSyncOfSQLiteDirectory: a new file or a new WAL is durable when its directory is
// synced. A failed sync must be repeated before the first 250.
func TestFailedSyncOfSQLiteDirectory(t *testing.T) {
	for nth, synced := 1, true; synced; nth++ {
		t.Run(fmt.Sprint(nth), func(t *testing.T) {
			synced = false // also if the test is skipped
			p := newIdlePowerTest(t, &sqliteMedium{})
			f := p.fault(powerfs.SyncDir, "spool", nth, 1)
			p.d.Start(t)
			p.sendUntil250(t, 3, 100)
			synced = f.Hits() > 0
			p.dropUnsynced(t)
		})
	}
}

// TestFailedSyncOfSQLiteParent: the directory of the file, which the daemon creates, is
// durable when its parent is synced.
func TestFailedSyncOfSQLiteParent(t *testing.T) {
	p := newIdlePowerTest(t, &sqliteMedium{sub: "sub"})
	f := p.fault(powerfs.SyncDir, "spool", 1, 1)
	p.d.Start(t)
	p.sendUntil250(t, 3, 100)
	if f.Hits() == 0 {
		t.Error("the parent directory is not synced")
	}
	p.dropUnsynced(t)
}

// TestFailedSyncOfMaildirParent: a Maildir and its three directories are durable when their
// parents are synced.
func TestFailedSyncOfMaildirParent(t *testing.T) {
	for _, match := range []string{"spool", "Maildir"} {
		for nth, synced := 1, true; synced; nth++ {
			t.Run(fmt.Sprint(match, nth), func(t *testing.T) {
				synced = false // also if the test is skipped
				p := newIdlePowerTest(t, &maildirMedium{})
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

// TestFailedSyncOfMaildirNew: the names in new are durable when the directory is synced.
func TestFailedSyncOfMaildirNew(t *testing.T) {
	p := newIdlePowerTest(t, &maildirMedium{})
	p.d.Start(t)
	p.sendUntil250(t, 1, 100)
	f := p.fault(powerfs.SyncDir, "new", 1, 1)
	if code := p.send(t, 100); code != 250 || f.Hits() != 1 {
		t.Errorf("reply %d to a message whose sync of new failed once, want 250 after another Save; %d syncs failed, want 1", code, f.Hits())
	}
	f = p.fault(powerfs.Sync, "*", 1, 1)
	if code := p.send(t, 100); code != 250 || f.Hits() != 1 {
		t.Errorf("reply %d to a message whose sync of a file failed once, want 250 after another Save; %d syncs failed, want 1", code, f.Hits())
	}
	f = p.fault(powerfs.SyncDir, "new", 1, 0)
	if code := p.send(t, 100); code/100 != 4 {
		t.Errorf("reply %d to a message whose syncs of new fail, want 4xx", code)
	}
	f.Clear()
	p.sendUntil250(t, 1, 100)
	p.dropUnsynced(t)
}
