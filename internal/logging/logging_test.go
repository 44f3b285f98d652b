package logging_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/logging"
)

const journalSocket = "/run/systemd/journal/socket"

func open(t *testing.T, path string) *logging.Log {
	t.Helper()
	l, err := logging.Open(path, logging.Owner{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path, moved := filepath.Join(dir, "log"), filepath.Join(dir, "log.1")
	l := open(t, path)
	l.Debug("not verbose")
	l.Info("first")
	l.SetVerbose(true)
	l.Debug("second")
	l.SetVerbose(false)
	l.Debug("not verbose again")
	if err := logging.Check(path); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := lines(t, path); len(got) != 2 || !strings.Contains(got[0], "msg=first") || !strings.Contains(got[1], "msg=second") {
		t.Errorf("lines %q, want first and second", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode of a new file is %v, error %v, want 0640", info, err)
	}

	// Open appends. Reopen creates the file again after logrotate has renamed it. A
	// Reopen that fails changes nothing.
	l = open(t, path)
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(filepath.Join(dir, "none", "log")); err == nil {
		t.Error("no error for a missing directory")
	}
	if err := l.Reopen(path); err != nil {
		t.Fatal(err)
	}
	l.Info("third")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := len(lines(t, moved)); got != 2 {
		t.Errorf("%d lines in the old file, want 2", got)
	}
	if got := lines(t, path); len(got) != 1 || !strings.Contains(got[0], "msg=third") {
		t.Errorf("lines %q in the new file, want third", got)
	}
}

// TestIdle: an idle log uses no CPU, and it closes a replaced file without a new line.
// synctest.Wait returns only when all goroutines of the bubble block.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		l := open(t, path)
		synctest.Wait()
		before := descriptors(t)
		if err := l.Reopen(path); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if now := descriptors(t); now > before {
			t.Errorf("%d descriptors, %d before Reopen", now, before)
		}
		l.Info("one")
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestEscapes: any value from a client is logged as one line of printable
// ASCII.
func TestEscapes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := open(t, path)
	for _, s := range []string{
		"a\r\nlevel=ERROR", "\x1b[2J", "\x00", "\u202eevil", "\u0085", "\u2028", "\xff\xfe", `quote" back\slash`, "a=b c",
	} {
		l.Info("C: "+s, "from", s)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := lines(t, path)
	if len(got) != 9 {
		t.Errorf("%d lines, want 9: %q", len(got), got)
	}
	for _, line := range got {
		for _, r := range line {
			if r < ' ' || r > '~' {
				t.Errorf("line %q contains %q", line, r)
			}
		}
	}
}

// TestBlockedOutput: logging does not block while no process reads
// standard error, and that the lost lines are reported later.
func TestBlockedOutput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stderr
	os.Stderr = w
	l := open(t, "")
	os.Stderr = old
	long := strings.Repeat("x", 10_000)
	for range 300 { // 3 MB, more than the pipe and the buffer hold
		l.Info(long)
	}
	read := make(chan string)
	go func() {
		var all strings.Builder
		buf := make([]byte, 1<<16)
		for {
			n, err := r.Read(buf)
			all.Write(buf[:n])
			if err != nil {
				read <- all.String()
				return
			}
		}
	}()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	w.Close()
	all := <-read
	const most = 2<<20 + 1<<16 // two buffers, and the pipe
	if !strings.Contains(all, "log lines dropped") || len(all) > most {
		t.Errorf("log of %d bytes, reports dropped lines: %v, want at most %d bytes and true", len(all), strings.Contains(all, "log lines dropped"), most)
	}
}

// TestDiskFull: Close returns the error of a full disk.
func TestDiskFull(t *testing.T) {
	l := open(t, "/dev/full")
	l.Info("lost")
	if err := l.Close(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v, want ENOSPC", err)
	}
}

// TestTextToJournal: if standard error is connected to the journal but the socket for
// entries is missing, lines on standard error have no time, and lines in a file have one.
func TestTextToJournal(t *testing.T) {
	if _, err := os.Stat(journalSocket); err == nil {
		t.Skip("the journal of this machine would get the lines")
	}
	dir := t.TempDir()
	stream, err := os.Create(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(stream.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", st.Dev, st.Ino))
	old := os.Stderr
	os.Stderr = stream
	defer func() { os.Stderr = old }()

	l := open(t, "")
	l.Info("one")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := lines(t, stream.Name()); len(got) != 1 || got[0] != "level=INFO msg=one" {
		t.Errorf("lines %q, want level=INFO msg=one", got)
	}
	l = open(t, "")
	path := filepath.Join(dir, "log")
	if err := l.Reopen(path); err != nil {
		t.Fatal(err)
	}
	l.Info("two")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := lines(t, path); len(got) != 1 || !strings.HasPrefix(got[0], "time=") {
		t.Errorf("lines %q, want one with a time", got)
	}
}
