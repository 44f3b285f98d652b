package sqlite_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/sqlite"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/powerfs"
	"goguerrillad/internal/test/storetest"
)

// saverFile makes the test binary a saver: a process that saves a message for
// each line that it reads, which is the message's size, prints its hash and its
// outcome, and logs to standard error. It must not be the process that serves the file system (package powerfs).
const saverFile = "SAVER_FILE"

func TestMain(m *testing.M) {
	if file := os.Getenv(saverFile); file != "" {
		saveLines(file)
		return
	}
	os.Exit(m.Run())
}

func saveLines(file string) {
	s := sqlite.New(sqlite.Options{File: file, Table: "new_mail", Log: slog.New(slog.NewJSONHandler(os.Stderr, nil))})
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		size, _ := strconv.Atoi(lines.Text())
		e := storetest.Envelope(text+strings.Repeat("x", size), "b@example.com")
		err := s.Save(ctx, []*envelope.Envelope{e})[0]
		cancel()
		word := "stored"
		switch {
		case errors.Is(err, savemail.ErrUnknown):
			word = "unknown"
		case err != nil:
			word = "failed"
		}
		fmt.Println(e.To[0].Hash, word, fmt.Sprintf("%q", fmt.Sprint(err)))
	}
	if err := s.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// A saver is such a process.
type saver struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	log test.Log

	last string // error
}

func startSaver(t *testing.T, file string) *saver {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	s := &saver{cmd: cmd}
	cmd.Env, cmd.Stderr = append(os.Environ(), saverFile+"="+file), &s.log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.in, s.out = in, bufio.NewReader(out)
	t.Cleanup(s.kill)
	return s
}

func (s *saver) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// save saves a message of this size and returns its hash and its outcome.
func (s *saver) save(t *testing.T, size int) (hash, outcome string) {
	t.Helper()
	fmt.Fprintln(s.in, size)
	line, err := s.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%v\n%s", err, s.log.String())
	}
	words := strings.SplitN(line, " ", 3)
	if s.last != words[2] { // a store that waits repeats itself
		t.Logf("%s: %s", words[1], words[2])
	}
	s.last = words[2]
	return words[0], words[1]
}

// settled returns the log's message about each hash whose outcome was unknown.
func (s *saver) settled(t *testing.T) map[string]string {
	t.Helper()
	messages := map[string]string{}
	for line := range strings.Lines(s.log.String()) {
		var entry struct {
			Msg    string
			Hashes []string
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		for _, hash := range entry.Hashes {
			messages[hash] = entry.Msg
		}
	}
	return messages
}

// TestPowerLoss: a message is in the file after a power loss if its outcome is
// nil, and is not if it has failed, whatever failed before. If its outcome is
// unknown, the log reports it later.
func TestPowerLoss(t *testing.T) {
	const forever = 0 // until the Save has failed
	for _, tt := range []struct {
		name  string
		fresh bool // the file is new
		fault powerfs.Fault
	}{
		{"nothing fails", true, powerfs.Fault{}},
		{"sync of the directory", true, powerfs.Fault{Op: powerfs.SyncDir, Match: "spool", Count: 1}},
		{"sync of the directory, later", true, powerfs.Fault{Op: powerfs.SyncDir, Match: "spool", Nth: 2, Count: 1}},
		{"syncs of the directory", true, powerfs.Fault{Op: powerfs.SyncDir, Match: "spool", Count: forever}},
		{"sync of the directory above", true, powerfs.Fault{Op: powerfs.SyncDir, Match: "base", Count: 1}},
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
					t.Errorf("the error does not name the file: %s", s.last)
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
						return errors.New("the time of the Save may have been over before")
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
			power.Heal()
			power.Remount(t)
			there := map[string]bool{}
			for _, row := range readCopy(t, file) {
				there[row.Hash] = true
			}
			settled := s.settled(t)
			for hash, outcome := range outcomes {
				want := ""
				switch {
				case outcome != "unknown":
				case there[hash]:
					want = "messages with unknown outcome were stored; senders may deliver them again"
				default:
					want = "messages with unknown outcome are not in the table"
				}
				if settled[hash] != want {
					t.Errorf("a message has the outcome %q, is in the file: %v, and the log reports %q", outcome, there[hash], settled[hash])
				}
				if outcome == "stored" && !there[hash] || outcome == "failed" && there[hash] {
					t.Errorf("a message has the outcome %q and is in the file: %v", outcome, there[hash])
				}
			}
		})
	}
}

// readCopy returns the rows of a copy of the file, which SQLite recovers.
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

// failing saves messages of this size while operations fail, until one has the wanted
// outcome. Before each attempt it opens the file, which can take the whole time of a
// Save. It returns the message's hash, and the fault, which is still active.
func (s *saver) failing(t *testing.T, power *powerfs.FS, f powerfs.Fault, size int, ok func(outcome string) bool) (hash string, fault *powerfs.Injection) {
	t.Helper()
	test.Await(t, nil, time.Minute, "no outcome is as wanted", func() error {
		if _, outcome := s.save(t, 0); outcome != "stored" {
			return errors.New(s.last)
		}
		fault = power.Inject(f)
		var outcome string
		if hash, outcome = s.save(t, size); !ok(outcome) {
			fault.Clear()
			return errors.New(s.last)
		}
		return nil
	})
	return hash, fault
}

// TestUnknownOutcome: the log reports an outcome that was unknown, without a further
// Save, and at the latest when the store closes.
func TestUnknownOutcome(t *testing.T) {
	power := powerfs.New(t, powerfs.Options{Rand: rand.New(rand.NewPCG(1, 1))})
	s := startSaver(t, filepath.Join(power.Dir, "mail.db"))
	unknown := func() (hash string, fault *powerfs.Injection) {
		return s.failing(t, power, powerfs.Fault{Op: powerfs.Sync, Match: "mail.db-wal", Errno: syscall.EIO, Lost: true}, 0,
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
	if message := s.settled(t)[hash]; message == "messages with unknown outcome cannot be looked up" {
		t.Error(message)
	}
	hash, _ = unknown()
	s.in.Close()
	if err := s.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if message := s.settled(t)[hash]; message != "messages with unknown outcome cannot be looked up" {
		t.Errorf("the log reports %q after the close", message)
	}
}

// TestFailedInsert: after an error before COMMIT, the store opens the file again.
func TestFailedInsert(t *testing.T) {
	power := powerfs.New(t, powerfs.Options{Rand: rand.New(rand.NewPCG(1, 1))})
	s := startSaver(t, filepath.Join(power.Dir, "mail.db"))
	// The pages of a large transaction do not fit into SQLite's memory.
	s.failing(t, power, powerfs.Fault{Op: powerfs.Write, Match: "mail.db-wal", Count: 1, Errno: syscall.EIO, Lost: true}, 3<<20,
		func(string) bool { return strings.Contains(s.last, ": insert: disk I/O error") })
	checkpoint := power.Inject(powerfs.Fault{Op: powerfs.Write, Match: "mail.db"}) // counts
	test.Await(t, nil, time.Minute, "no Save succeeds", func() error {
		if _, outcome := s.save(t, 0); outcome != "stored" {
			return errors.New(s.last)
		}
		return nil
	})
	if checkpoint.Hits() == 0 {
		t.Error("the store has kept the connection")
	}
}
