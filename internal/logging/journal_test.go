package logging

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// journald listens on a socket as systemd-journald does.
func journald(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := l.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return l
}

// wantEntry reads one entry and checks its MESSAGE.
func wantEntry(t *testing.T, l *net.UnixConn, message string) {
	t.Helper()
	b := make([]byte, 1<<16)
	n, err := l.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := decode(t, b[:n])["MESSAGE"]; len(got) != 1 || got[0] != message {
		t.Errorf("MESSAGE is %q, want %q", got, message)
	}
}

// frame returns the frame of an entry with this message.
func frame(message string, attrs ...any) string {
	var b bytes.Buffer
	slog.New(newJournalHandler(&b, slog.LevelInfo)).Info(message, attrs...)
	return b.String()
}

// TestJournalRestarts: a restarted journal gets all further entries, and
// that entries without a journal are reported as not written.
func TestJournalRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	first := journald(t, path)
	j := &journal{path: path}
	if err := j.dial(); err != nil {
		t.Fatal(err)
	}
	defer func() { j.Close() }()
	write := func(frames string, want int) {
		t.Helper()
		if n, err := j.Write([]byte(frames)); n != want || (err == nil) != (n == len(frames)) {
			t.Errorf("wrote %d of %d bytes, error %v, want %d", n, len(frames), err, want)
		}
	}
	one, two := frame("one"), frame("two")
	write(one+two, len(one+two))
	wantEntry(t, first, "one")
	wantEntry(t, first, "two")
	first.Close()
	write(one+two, 0)
	write(one, 0)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(one, 0)
	const restarts = 20
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the GC would close unreferenced files
	open := files(t)
	for range restarts {
		l := journald(t, path)
		write(two+one, len(two+one))
		wantEntry(t, l, "two")
		wantEntry(t, l, "one")
		l.Close()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	l := journald(t, path)
	long := frame("long", "from", strings.Repeat("x", 1<<22)) // too long for a datagram
	write(two+long+one, len(two))
	wantEntry(t, l, "two")
	l.Close()
	if now := files(t); now >= open+restarts { // other code may open or close a few files
		t.Errorf("%d open files, %d before the restarts", now, open)
	}
}

func files(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// TestJournalLostLines: the journal gets a report of the entries that it
// has lost.
func TestJournalLostLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	first := journald(t, path)
	j := &journal{path: path}
	if err := j.dial(); err != nil {
		t.Fatal(err)
	}
	first.Close()
	w := makeWriter(j)
	w.write([]byte(frame("one\nline") + frame("two")))
	if w.lost != 2 || w.cut || w.err == nil {
		t.Errorf("lost %d, cut %v, error %v, want 2 lost entries and an error", w.lost, w.cut, w.err)
	}
	w.err = errors.New("journal \"gone\"")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l := journald(t, path)
	go w.run()
	w.Write([]byte(frame("three")))
	wantEntry(t, l, `log lines dropped lines=2 error="journal \"gone\""`)
	wantEntry(t, l, "three")
	if err := w.close(); err != nil {
		t.Error(err)
	}
}

// TestSwitchForm: a log that switches between the journal and a file loses no line,
// and each line has the form of its output.
func TestSwitchForm(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	server := journald(t, socket)
	connect := func() output {
		j := &journal{path: socket}
		if err := j.dial(); err != nil {
			t.Fatal(err)
		}
		return j
	}
	file := func(name string) output {
		out, err := open(filepath.Join(dir, name), Owner{})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	l := newLog(connect(), true)
	derived := l.With("session", "s")
	for _, step := range []struct {
		out    output
		stderr bool
	}{{file("1"), false}, {file("2"), false}, {connect(), true}, {connect(), true}, {file("3"), false}} {
		derived.Info("m")
		derived.Info("n")
		l.use(step.out, step.stderr)
	}
	derived.Info("m")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		wantEntry(t, server, "m session=s")
		wantEntry(t, server, "n session=s")
	}
	lines := 0
	for _, name := range []string{"1", "2", "3"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			lines++
			if !strings.HasPrefix(line, "time=") || !strings.HasSuffix(line, "=s\n") {
				t.Errorf("line %q in file %s is not text", line, name)
			}
		}
	}
	if lines != 5 {
		t.Errorf("%d lines in the files, want 5", lines)
	}
}

// TestSwitchFormLostLines: the first line of the new output reports the lines that the
// old output has lost.
func TestSwitchFormLostLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	server := journald(t, path)
	j := &journal{path: path}
	if err := j.dial(); err != nil {
		t.Fatal(err)
	}
	server.Close()
	l := newLog(j, true)
	l.Info("one")
	var text strings.Builder
	l.use(textOutput{nopCloser{&text}}, false)
	l.Info("two")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	report, rest, _ := strings.Cut(text.String(), "\n")
	if !strings.Contains(report, `level=WARN msg="log lines dropped" lines=1 error="write unixgram`) || !strings.Contains(rest, "msg=two") {
		t.Errorf("log is\n%s", text.String())
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
