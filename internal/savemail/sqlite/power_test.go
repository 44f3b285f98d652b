package sqlite_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/powerfs"
	"goguerrillad/internal/test/storetest"
)

// TestPowerLoss: after a fault and a power loss, a stored message is in the file, and a
// failed message is not. The log has reported the outcome of each message with an
// unknown outcome.
func TestPowerLoss(t *testing.T) {
	const forever = 0 // until the fault is cleared
	for _, tt := range []struct {
		name  string
		fresh bool // the file is new
		fault powerfs.Fault
	}{
		{"no fault", true, powerfs.Fault{}},
		{"sync of the directory", true, powerfs.Fault{Op: powerfs.SyncDir, Match: "spool", Count: 1}},
		{"second sync of the directory", true, powerfs.Fault{Op: powerfs.SyncDir, Match: "spool", Nth: 2, Count: 1}},
		{"syncs of the directory", true, powerfs.Fault{Op: powerfs.SyncDir, Match: "spool", Count: forever}},
		{"sync of the parent directory", true, powerfs.Fault{Op: powerfs.SyncDir, Match: "base", Count: 1}},
		{"sync of the WAL", false, powerfs.Fault{Op: powerfs.Sync, Match: "mail.db-wal", Count: 1}},
		{"syncs of the WAL", false, powerfs.Fault{Op: powerfs.Sync, Match: "mail.db-wal", Count: forever}},
		{"syncs of WAL and file", false, powerfs.Fault{Op: powerfs.Sync, Match: "mail.db*", Count: forever}},
		{"write to the WAL", false, powerfs.Fault{Op: powerfs.Write, Match: "mail.db-wal", Count: 1}},
		{"writes to the WAL", false, powerfs.Fault{Op: powerfs.Write, Match: "mail.db-wal", Count: forever}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			power := powerfs.New(t, powerfs.Options{Rand: rand.New(rand.NewPCG(1, 1))})
			base := filepath.Join(power.Dir, "base")
			if err := errors.Join(os.Mkdir(base, 0o755), savemail.SyncDir(power.Dir)); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(base, "spool", "mail.db")
			s := startSaver(t, file)
			outcomes := map[string]string{}
			save := func() string {
				hash, outcome := s.save(t, 0)
				if outcome != "stored" && !strings.Contains(s.last, file) {
					t.Errorf("the error does not contain %s: %s", file, s.last)
				}
				outcomes[hash] = outcome
				return outcome
			}
			awaitStored := func() {
				test.Await(t, nil, time.Minute, "no Save succeeds", func() error {
					if outcome := save(); outcome != "stored" {
						return errors.New(outcome)
					}
					return nil
				})
			}
			if !tt.fresh {
				awaitStored()
			}
			if tt.fault.Op != 0 {
				tt.fault.Errno, tt.fault.Lost = syscall.EIO, true
				i := power.Inject(tt.fault)
				test.Await(t, nil, time.Minute, "no operation fails", func() error {
					save()
					if i.Hits() == 0 && tt.fault.Nth == 0 {
						return errors.New("no hit; the Save may have timed out before")
					}
					return nil
				})
				i.Clear()
			}
			for range 3 {
				awaitStored()
			}
			power.Cut(powerfs.Drop)
			s.kill()
			power.ClearFaults()
			power.Remount(t)
			inFile := map[string]bool{}
			for _, row := range readCopy(t, file) {
				inFile[row.Hash] = true
			}
			settled := s.settled(t)
			for hash, outcome := range outcomes {
				want := ""
				switch {
				case outcome != "unknown":
				case inFile[hash]:
					want = "messages with unknown outcome were stored; senders may deliver them again"
				default:
					want = "messages with unknown outcome are not in the table"
				}
				if settled[hash] != want {
					t.Errorf("a message with outcome %q, in the file: %v: the log reports %q, want %q", outcome, inFile[hash], settled[hash], want)
				}
				if outcome == "stored" && !inFile[hash] || outcome == "failed" && inFile[hash] {
					t.Errorf("a message with outcome %q is in the file: %v", outcome, inFile[hash])
				}
			}
		})
	}
}

// readCopy copies the file and its WAL and returns the rows of the copy. SQLite
// recovers the copy.
func readCopy(t *testing.T, file string) []storetest.Row {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "mail.db")
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(file + suffix)
		if errors.Is(err, fs.ErrNotExist) && suffix != "" {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		write(t, copied+suffix, string(content))
	}
	return rows(t, copied)
}

// TestUnknownOutcome: the log reports what happened to a message with an unknown
// outcome without another Save, and at the latest when the store closes.
func TestUnknownOutcome(t *testing.T) {
	power := powerfs.New(t, powerfs.Options{Rand: rand.New(rand.NewPCG(1, 1))})
	s := startSaver(t, filepath.Join(power.Dir, "mail.db"))
	unknown := func() (hash string, fault *powerfs.Injection) {
		return s.saveWithFault(t, power, powerfs.Fault{Op: powerfs.Sync, Match: "mail.db-wal", Errno: syscall.EIO, Lost: true}, 0,
			func(outcome string) bool { return outcome == "unknown" })
	}
	hash, fault := unknown()
	fault.Clear()
	test.Await(t, nil, time.Minute, "the outcome is not logged", func() error {
		if !strings.HasPrefix(s.settled(t)[hash], "messages with unknown outcome ") {
			return errors.New(s.log.String())
		}
		return nil
	})
	if got := s.settled(t)[hash]; got == "messages with unknown outcome cannot be looked up" {
		t.Errorf("the log reports %q before the close", got)
	}
	hash, _ = unknown()
	s.in.Close()
	if err := s.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if got, want := s.settled(t)[hash], "messages with unknown outcome cannot be looked up"; got != want {
		t.Errorf("the log reports %q after the close, want %q", got, want)
	}
}

// TestFailedInsert: after an error before COMMIT, the store opens the file again.
func TestFailedInsert(t *testing.T) {
	power := powerfs.New(t, powerfs.Options{Rand: rand.New(rand.NewPCG(1, 1))})
	s := startSaver(t, filepath.Join(power.Dir, "mail.db"))
	// The pages of a large transaction exceed SQLite's cache.
	s.saveWithFault(t, power, powerfs.Fault{Op: powerfs.Write, Match: "mail.db-wal", Count: 1, Errno: syscall.EIO, Lost: true}, 3<<20,
		func(string) bool { return strings.Contains(s.last, ": insert: disk I/O error") })
	checkpoint := power.Inject(powerfs.Fault{Op: powerfs.Write, Match: "mail.db"}) // counts writes
	test.Await(t, nil, time.Minute, "no Save succeeds", func() error {
		if _, outcome := s.save(t, 0); outcome != "stored" {
			return errors.New(s.last)
		}
		return nil
	})
	if checkpoint.Hits() == 0 {
		t.Error("the store has not opened the file again")
	}
}
