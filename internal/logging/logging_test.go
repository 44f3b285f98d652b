package logging_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
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
		t.Errorf("%q", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	// Appended to, and opened anew behind logrotate; a place that cannot be
	// opened changes nothing.
	l = open(t, path)
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(filepath.Join(dir, "none", "log")); err == nil {
		t.Error("reopened in a directory that is not there")
	}
	if err := l.Reopen(path); err != nil {
		t.Fatal(err)
	}
	l.Info("third")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := len(lines(t, moved)); got != 2 {
		t.Errorf("%d lines in the old file", got)
	}
	if got := lines(t, path); len(got) != 1 || !strings.Contains(got[0], "msg=third") {
		t.Errorf("%q", got)
	}
}

// TestIdle: a log that has nothing to write waits, and leaves a file that was replaced.
// Wait does not return while a goroutine of the bubble runs.
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
			t.Errorf("%d descriptors, before %d", now, before)
		}
		l.Info("one")
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestEscapes logs what a client may say: it stays one line of printable text.
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
		t.Errorf("%d lines: %q", len(got), got)
	}
	for _, line := range got {
		for _, r := range line {
			if r < ' ' || r > '~' {
				t.Errorf("%q has %q", line, r)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := os.Symlink(filepath.Join(dir, "target"), link); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	read := filepath.Join(dir, "read") // a FIFO that does not block, since it has a reader
	if err := unix.Mkfifo(read, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(read, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for _, path := range []string{link, fifo, read, dir, filepath.Join(dir, "none", "log")} {
		if l, err := logging.Open(path, logging.Owner{}); err == nil {
			l.Close()
			t.Errorf("%s was opened", path)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "target")); err == nil {
		t.Error("the link's target was made")
	}
}

// TestStuck has nobody read the log: who logs does not wait, and what was
// dropped is counted once there is room again.
func TestStuck(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stderr
	os.Stderr = w
	l := open(t, "")
	os.Stderr = old
	long := strings.Repeat("x", 10_000)
	for range 300 { // 3 MB, where the pipe and the buffer take little more than 1
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
	if !strings.Contains(all, "log lines dropped") || len(all) > 2<<20 {
		t.Errorf("%d bytes, dropped lines are counted: %v", len(all), strings.Contains(all, "log lines dropped"))
	}
}

// TestFull: Close returns the error of a disk that is full.
func TestFull(t *testing.T) {
	l := open(t, "/dev/full")
	l.Info("lost")
	if err := l.Close(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("error %v", err)
	}
}

// TestDescriptors: what is refused, replaced or closed leaves no descriptor open.
func TestDescriptors(t *testing.T) {
	dir := t.TempDir()
	path, second, link := filepath.Join(dir, "log"), filepath.Join(dir, "second"), filepath.Join(dir, "link")
	open(t, path).Close()
	if err := errors.Join(os.Link(path, second), os.Symlink(path, link)); err != nil {
		t.Fatal(err)
	}
	const times = 20
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which closes what nothing refers to
	before := descriptors(t)
	for range times {
		l := open(t, path)
		for _, bad := range []string{dir, second, link, filepath.Join(dir, "none", "log")} {
			if l, err := logging.Open(bad, logging.Owner{Change: true, UID: os.Getuid(), GID: os.Getgid()}); err == nil {
				l.Close()
				t.Errorf("%s was opened", bad)
			}
			if err := logging.Check(bad); (err == nil) != (bad == second) {
				t.Errorf("%s: %v", bad, err)
			}
		}
		for range 3 { // the goroutine may not have come to the first when the second is there
			if err := l.Reopen(second); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if after := descriptors(t); after >= before+times { // others of the process may have been closed meanwhile
		t.Errorf("%d descriptors, before %d", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func TestMode(t *testing.T) {
	old := unix.Umask(0o077) // as systemd units set it
	defer unix.Umask(old)
	path := filepath.Join(t.TempDir(), "log")
	open(t, path).Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
	// What an operator chose stays.
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, path).Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	path, second := filepath.Join(dir, "log"), filepath.Join(dir, "second")
	owner := logging.Owner{Change: true, UID: 65533, GID: 65532}
	l, err := logging.Open(path, owner)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Uid != 65533 || st.Gid != 65532 {
		t.Errorf("%d:%d, %v", st.Uid, st.Gid, err)
	}
	if err := os.Link(path, second); err != nil {
		t.Fatal(err)
	}
	if l, err := logging.Open(second, owner); err == nil {
		l.Close()
		t.Error("a file with a second name was given away")
	}
}

// TestPlantedDirectory: a user who may write next to the log's directory cannot make
// root create a file elsewhere, or give a file of root to the daemon's user.
func TestPlantedDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	roots, state := t.TempDir(), t.TempDir()
	owner := logging.Owner{Change: true, UID: 65533, GID: 65532}
	secret, planted := filepath.Join(roots, "secret"), filepath.Join(state, "logs")
	if err := errors.Join(
		os.WriteFile(secret, []byte("secret"), 0o600),
		os.Symlink(roots, planted),
		os.Lchown(planted, owner.UID, owner.GID),
	); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"secret", "new"} {
		if l, err := logging.Open(filepath.Join(planted, name), owner); err == nil {
			l.Close()
			t.Errorf("%s was opened behind a link of another user", name)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(secret, &st); err != nil || st.Uid != 0 {
		t.Errorf("root's file belongs to %d, %v", st.Uid, err)
	}
	if err := os.Lchown(planted, 0, 0); err != nil {
		t.Fatal(err)
	}
	l, err := logging.Open(filepath.Join(planted, "new"), owner)
	if err != nil {
		t.Fatalf("root's own link to a directory is refused: %v", err)
	}
	l.Close()
}

// TestJournal has standard error be the journal's stream, as systemd says it:
// lines there have no time, but in a file they do.
func TestJournal(t *testing.T) {
	if _, err := os.Stat(journalSocket); err == nil {
		t.Skip("the machine has a journal, which would get the lines")
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
		t.Errorf("%q", got)
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
		t.Errorf("%q", got)
	}
}
