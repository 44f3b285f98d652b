package listing

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/savemail"
)

// TestLine: a line is at most as wide as the terminal, for any message, and its hash
// is complete.
func TestLine(t *testing.T) {
	hash := strings.Repeat("0123456789abcdef", 2)
	for _, m := range []savemail.Listed{
		{},
		{From: "a@example.org", To: "b@example.com", Subject: "short", Size: 5},
		{From: strings.Repeat("a", 100) + "@example.org", To: strings.Repeat("b", 100) + "@example.com", Subject: strings.Repeat("subject ", 50), Size: 1 << 50},
		{From: "送信者@example.org", To: "受信者受信者受信者受信者@example.com", Subject: strings.Repeat("件名", 100), Size: 99_999},
		{From: "a\u0301\u0301\u0301@example.org", Subject: "\x1b[2J\r\n\u202e" + strings.Repeat("😀", 60)},
	} {
		m.Hash, m.Date = hash, time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
		for _, columns := range []int{80, 81, 100, 132, 250} {
			text := line(m, columns)
			if n := textColumns(text); n > columns || !strings.HasPrefix(text, hash+" 01-31 12:00Z ") {
				t.Errorf("%d columns, want at most %d, hash and date first: %q", n, columns, text)
			}
			if strings.ContainsAny(text, "\x1b\r\n\u202e") {
				t.Errorf("the line has unprintable characters: %q", text)
			}
		}
	}
	m := savemail.Listed{Hash: hash, Date: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), From: "alice@example.org", To: "bob@example.com", Subject: "a subject that is rather long for the place", Size: 12_345}
	want := hash + " 01-01 00:00Z alice@exampl… bob@example.…  12.3k a subject that is …"
	if got := line(m, 100); got != want {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
}

// TestNoDate: a message whose date is unknown has no date.
func TestNoDate(t *testing.T) {
	m := savemail.Listed{Hash: strings.Repeat("0", 32)}
	for _, layout := range []string{dateLayout, "2006"} {
		if got := date(m, layout); got != "-" {
			t.Errorf("got %q, want -", got)
		}
	}
	if got, want := line(m, 100)[:46], m.Hash+" -            "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestHumanSize: a size has at most six characters.
func TestHumanSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 9999: "9999", 10_000: "10.0k", 999_949: "999.9k",
		999_950: "1.0M", 999_999: "1.0M", 1_000_000: "1.0M", 15_000_000: "15.0M",
		999_949_999: "999.9M", 999_950_000: "1.0G", 1_000_000_000: "1.0G", 1<<63 - 1: "9.2E",
	} {
		if got := humanSize(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// TestTerminalColumns: terminalColumns returns 0 for anything but a terminal.
func TestTerminalColumns(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 97, Row: 24}); err != nil {
		t.Fatal(err)
	}
	for w, want := range map[io.Writer]int{terminal: 97, null: 0, io.Discard: 0} {
		if got := terminalColumns(w); got != want {
			t.Errorf("%T: %d columns, want %d", w, got, want)
		}
	}
}
