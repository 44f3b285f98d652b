package logging

import (
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// journald is the journal's socket.
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

// wantEntry reads one entry.
func wantEntry(t *testing.T, l *net.UnixConn, message string) {
	t.Helper()
	b := make([]byte, 1<<16)
	n, err := l.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := decode(t, b[:n])["MESSAGE"]; len(got) != 1 || got[0] != message {
		t.Errorf("message %q, want %q", got, message)
	}
}

// TestJournalRestarts: a journal that was restarted gets the lines from then on, and
// lines that no journal takes are counted.
func TestJournalRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	first := journald(t, path)
	j := &journal{path: path}
	if err := j.dial(); err != nil {
		t.Fatal(err)
	}
	defer func() { j.Close() }()
	write := func(text string, want int) {
		t.Helper()
		if n, err := j.Write([]byte(text)); n != want || (err == nil) != (n == len(text)) {
			t.Errorf("%q: %d bytes, %v", text, n, err)
		}
	}
	const one, two = "level=INFO msg=one\n", "level=WARN msg=two\n"
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
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which closes what nothing refers to
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
	long := "level=INFO msg=long from=" + strings.Repeat("x", 1<<22) + "\n" // more than a datagram holds
	write(two+long+one, len(two))
	wantEntry(t, l, "two")
	l.Close()
	if now := files(t); now >= open+restarts { // others of the process may have been closed meanwhile
		t.Errorf("%d descriptors, before %d", now, open)
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

// TestLongMessage: the text of an entry is bounded.
func TestLongMessage(t *testing.T) {
	for _, n := range []int{maxText - 1, maxText, maxText + 1, 3 * maxText} {
		text := strings.Repeat("x", n)
		got := decode(t, entry("level=INFO msg="+text))["MESSAGE"]
		if want := text[:min(n, maxText)]; len(got) != 1 || got[0] != want {
			t.Errorf("%d bytes: %d messages, %d bytes", n, len(got), len(strings.Join(got, "")))
		}
	}
}
