package session_test

import (
	"fmt"
	"strings"
	"testing"

	"goguerrillad/internal/session"
)

// TestMemoryDenied denies each Grow, three times or always.
func TestMemoryDenied(t *testing.T) {
	body := strings.Repeat(strings.Repeat("x", 98)+"\r\n", 1000)
	for _, tt := range []struct {
		name  string
		text  string
		lines []string
		grows int
	}{
		{"data", body, []string{"DATA\r\n", body + ".\r\n"}, 3}, // 8 KiB, 32, all
		{"chunk", body, []string{fmt.Sprintf("BDAT %d LAST\r\n", len(body)) + body}, 1},
		{"chunks", body, []string{fmt.Sprintf("BDAT 10\r\n%sBDAT %d LAST\r\n", body[:10], len(body)-10) + body[10:]}, 2},
		{"empty chunk", "", []string{"BDAT 0 LAST\r\n"}, 1},
	} {
		for _, size := range []int{1 << 20, 1000, 1} {
			for denied := 1; denied <= tt.grows; denied++ { // the first Grow that is denied
				for _, always := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%d/%d/%v", tt.name, size, denied, always), func(t *testing.T) {
						c := newClient(t, testSettings(t))
						c.sizes = func() int { return size }
						c.expect("250 250 250", "HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>")
						waited := 0
						c.memory.deny = func(call, _ int) bool { return call >= denied && waited < 3 }
						c.memoryAvailable = func() bool { waited++; return !always }

						var replies string
						for _, line := range tt.lines {
							replies += c.sendRaw(line)
							if strings.HasPrefix(replies, "452") {
								break // no text follows a refused DATA
							}
						}
						if waited == 0 {
							t.Fatal("the session does not request memory")
						}
						if always != strings.Contains(replies, "452 4.3.1 ") {
							t.Errorf("replies %q", replies)
						}
						if !always && (len(c.stored) != 1 || string(c.stored[0].Text) != tt.text) {
							t.Errorf("the message is not stored: replies %q", replies)
						}
						if always && len(c.stored) != 0 {
							t.Errorf("%d messages stored, want 0", len(c.stored))
						}
						if always && len(c.memory.held) != 0 {
							t.Errorf("%d buffers held, want 0", len(c.memory.held))
						}
						c.memory.deny = nil
						c.expect("250 250 250 354", "RSET", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA")
						c.expect("250 221", "x", ".", "QUIT")
						c.end()
					})
				}
			}
		}
	}
}

// TestMemoryDeniedNearTheDot denies memory when the buffer is full at each position near
// the end of the text.
func TestMemoryDeniedNearTheDot(t *testing.T) {
	for n := 7800; n < 8200; n++ {
		c := newClient(t, testSettings(t))
		c.sizes = func() int { return 1 + n%3 }
		c.expect("250 250 250 354", "HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA")
		c.memory.deny = func(int, int) bool { return true }
		codes := codesOf(c.send(strings.Repeat("x", n), ".", "NOOP"))
		if stored := len(c.stored) == 1; stored && codes != "250 250" || !stored && codes != "452 250" {
			t.Fatalf("%d bytes: replies %q, stored %v", n, codes, stored)
		}
		c.end()
	}
}

// TestTooBigNearTheDot: a text that becomes too big near its end, or near bytes that
// resemble the end, is refused at its end for all splits into reads.
func TestTooBigNearTheDot(t *testing.T) {
	for _, end := range []string{"\r\n.\r\n", "\r\n.more\r\n.\r\n", "\r\n..\r\n.\r\n", "\r.\r\n\r\n.\r\n", "\n.\n\r\n.\r\n"} {
		text := strings.Repeat("x", 100) + end + "NOOP\r\n"
		for size := 96; size <= 104; size++ {
			for first := 90; first < len(text); first++ {
				for second := 1; second < len(text)-first; second++ {
					c := newClient(t, testSettings(t))
					c.settings.MaxSize = int64(size)
					c.expect("250 250 250 354", "HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA")
					pieces := []int{first, second, len(text)}
					c.sizes = func() int {
						n := pieces[0]
						if len(pieces) > 1 {
							pieces = pieces[1:]
						}
						return n
					}
					codes := codesOf(c.sendRaw(text))
					if want := map[bool]string{true: "250 250", false: "552 250"}[len(c.stored) == 1]; codes != want {
						t.Fatalf("size %d, %q split at %d and %d: replies %q, want %q", size, end, first, first+second, codes, want)
					}
					c.end()
				}
			}
		}
	}
}

// TestMemoryBeforeData: the reply to DATA waits for memory for the declared size.
func TestMemoryBeforeData(t *testing.T) {
	c := newClient(t, testSettings(t))
	c.memory.deny = func(int, int) bool { return true }
	s := c.s
	c.expect("250 250 250", "HELO x", "MAIL FROM:<a@example.org> SIZE=90000", "RCPT TO:<b@example.com>")
	used, out := s.Feed([]byte("DATA\r\nNOOP\r\n"), nil)
	if used != 6 || len(out) > 0 || s.Request() != session.RequestMemory || s.Idle() {
		t.Fatalf("Feed used %d bytes, replies %q, request %d", used, out, s.Request())
	}
	if c.memory.most < 90000 {
		t.Errorf("requested %d bytes, want at least 90000", c.memory.most)
	}
	if used, out = s.Feed([]byte("NOOP\r\n"), nil); used != 0 || len(out) > 0 || s.Space() != nil {
		t.Fatal("the session continues without memory")
	}
	if out = s.MemoryAvailable(true, nil); len(out) > 0 || s.Request() != session.RequestMemory {
		t.Fatalf("denied again: replies %q, request %d", out, s.Request())
	}
	c.memory.deny = nil
	if out = s.MemoryAvailable(true, nil); codesOf(string(out)) != "354" || s.Request() != session.RequestInput {
		t.Fatalf("available: replies %q, request %d", out, s.Request())
	}
	c.end()
}

// TestMemoryRequested checks the capacities that a session requests.
func TestMemoryRequested(t *testing.T) {
	for _, tt := range []struct {
		name        string
		maxSize     int64
		params      string
		commands    string
		least, most int
	}{
		{"nothing declared", 100_000, "", "DATA\r\n", 8 << 10, 8 << 10},
		{"small limit", 1000, "", "DATA\r\n", 1, 2000},
		{"declared", 100_000, " SIZE=50000", "DATA\r\n", 50_000, 51_000},
		{"declared nothing", 100_000, " SIZE=0", "DATA\r\n", 8 << 10, 8 << 10},
		{"declared, chunks", 100_000, " SIZE=50000", "BDAT 1\r\n", 50_000, 51_000},
		{"chunk", 100_000, "", "BDAT 50000\r\n", 50_000, 51_000},
		{"small chunks", 100_000, "", strings.Repeat("BDAT 1\r\nx", 20), 1, 8 << 10},
		{"chunk too big", 100_000, "", "BDAT 100001\r\n", 0, 0},
		{"chunk much too big", 100_000, "", "BDAT 9223372036854775807\r\n", 0, 0},
		{"second chunk much too big", 100_000, "", "BDAT 1\r\nxBDAT 9223372036854775807\r\n", 1, 51_000},
		{"endless line", 100_000, "", "DATA\r\n" + strings.Repeat("x", 26_000_000), 100_000, 101_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			settings := testSettings(t)
			settings.MaxSize = tt.maxSize
			c := newClient(t, settings)
			c.sizes = func() int { return 1 << 16 }
			c.expect("250 250 250", "HELO x", "MAIL FROM:<a@example.org>"+tt.params, "RCPT TO:<b@example.com>")
			c.sendRaw(tt.commands)
			if c.memory.most < tt.least || c.memory.most > tt.most {
				t.Errorf("requested %d bytes, want %d to %d", c.memory.most, tt.least, tt.most)
			}
			if strings.Contains(tt.name, "too big") && c.s.Space() != nil {
				t.Error("the chunk is stored")
			}
			if tt.name == "endless line" && len(c.memory.held) != 0 {
				t.Error("the session holds memory for a message that is too big")
			}
			c.end()
		})
	}
}

// TestManyChunks: chunks of one byte cause few copies.
func TestManyChunks(t *testing.T) {
	c := newClient(t, testSettings(t))
	c.expect("250 250 250", "HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>")
	for range 50_000 {
		if codes := codesOf(c.sendRaw("BDAT 1\r\nx")); codes != "250" {
			t.Fatal(codes)
		}
	}
	if c.memory.grows > 10 {
		t.Errorf("the buffer grew %d times, want at most 10", c.memory.grows)
	}
	c.end()
}
