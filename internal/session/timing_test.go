package session_test

import (
	"strings"
	"testing"
	"time"
	"unsafe"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/session"
)

// starts are the states in which a test begins.
var starts = []struct {
	name  string
	lines []string // without CR LF
	idle  bool
	text  bool
}{
	{"greeted", nil, true, false},
	{"HELO", []string{"HELO x"}, true, false},
	{"mail", []string{"HELO x", "MAIL FROM:<a@example.org>"}, false, false},
	{"rcpt", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>"}, false, false},
	{"data", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA"}, false, true},
	{"chunk", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "BDAT 1000000"}, false, true},
	{"between chunks", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "BDAT 2", ""}, false, false},
	{"discarded data", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA", strings.Repeat("x", 200_000)}, false, true},
	{"discarded chunk", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "BDAT 90000000"}, false, true},
	{"chunk without MAIL", []string{"BDAT 90000000"}, false, true},
	{"refused command", []string{"HELO x", "\x00"}, true, false},
}

// at returns a client that has sent these lines.
func at(t *testing.T, lines []string) *client {
	c := newClient(t, testSettings(t))
	c.settings.MaxSize = 1_000_000
	if len(lines) > 0 && len(lines[len(lines)-1]) == 200_000 {
		c.settings.MaxSize = 100_000
	}
	c.send(lines...)
	return c
}

// TestExpired: a command ends after Timeout, and text ends if it is slower than 100 bytes
// per second.
func TestExpired(t *testing.T) {
	for _, start := range starts {
		t.Run(start.name, func(t *testing.T) {
			c := at(t, start.lines)
			if start.text {
				for _, n := range []int{10_000, 10_001, 50_000} {
					// Bytes before the window do not count.
					c.sendRaw(strings.Repeat("y", n))
					c.now = c.now.Add(100 * time.Second)
					if out := c.s.Expired(nil); len(out) > 0 || c.s.Request() != session.RequestInput {
						t.Fatalf("%d bytes in 100 s: replies %q, want none", n, out)
					}
				}
				c.sendRaw(strings.Repeat("y", 9_999))
				c.now = c.now.Add(100 * time.Second)
			}
			if out := string(c.s.Expired(nil)); !strings.HasPrefix(out, "421 4.4.2 ") || c.s.Request() != session.RequestClose {
				t.Fatalf("replies %q, request %d, want 421 and close", out, c.s.Request())
			}
			if len(c.memory.held) != 0 {
				t.Error("the session holds memory")
			}
			if out := c.s.Expired(nil); len(out) > 0 {
				t.Errorf("the second Expired: replies %q, want none", out)
			}
			c.end()
		})
	}
}

// TestClockSteps: the rate does not depend on steps of the wall clock.
func TestClockSteps(t *testing.T) {
	for _, start := range starts {
		if !start.text {
			continue
		}
		for _, step := range []int{+3600, -3600} {
			c := at(t, start.lines)
			c.sendRaw(strings.Repeat("y", 10_000))
			c.now = stepped(c.now.Add(100*time.Second), step)
			if out := c.s.Expired(nil); len(out) > 0 {
				t.Errorf("%s, step of %+d s: replies %q at 100 bytes/s, want none", start.name, step, out)
			}
			c.sendRaw(strings.Repeat("y", 9_999))
			c.now = stepped(c.now.Add(100*time.Second), step)
			if out := string(c.s.Expired(nil)); !strings.HasPrefix(out, "421 4.4.2 ") {
				t.Errorf("%s, step of %+d s: replies %q below 100 bytes/s, want 421", start.name, step, out)
			}
		}
	}
}

// stepped returns t as time.Now returns it after the wall clock was set forward by a
// number of seconds. The monotonic reading does not change.
func stepped(t time.Time, seconds int) time.Time {
	// In package time, wall has 33 bits of seconds above 30 bits of nanoseconds.
	wall := (*uint64)(unsafe.Pointer(&t))
	*wall += uint64(seconds) << 30
	return t
}

// TestStepped checks stepped.
func TestStepped(t *testing.T) {
	now := time.Now()
	for _, step := range []int{+3600, -3600} {
		after := stepped(now, step)
		if wall := after.Unix() - now.Unix(); wall != int64(step) || after.Sub(now) != 0 {
			t.Errorf("the wall clock moved by %d s, the monotonic clock by %v, want %d s and 0", wall, after.Sub(now), step)
		}
	}
}

// TestExpiredAfterMemory: the time that a session waits for memory does not count.
func TestExpiredAfterMemory(t *testing.T) {
	c := at(t, []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA"})
	progress := c.s.Progress()
	c.memory.deny = func(int, int) bool { return true }
	c.memoryAvailable = func() bool {
		c.now = c.now.Add(time.Hour)
		c.memory.deny = nil
		return true
	}
	c.sendRaw(strings.Repeat("x", 10_000))
	if c.s.Progress() == progress {
		t.Error("MemoryAvailable makes no progress")
	}
	c.sendRaw(strings.Repeat("x", 10_000))
	c.now = c.now.Add(100 * time.Second)
	if out := c.s.Expired(nil); len(out) > 0 {
		t.Errorf("replies %q at 100 bytes/s, want none", out)
	}
	c.end()

	// If the time passes during the wait, the reply is 452.
	c = newClient(t, testSettings(t))
	c.expect("250 250 250", "HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>")
	c.memory.deny = func(int, int) bool { return true }
	c.s.Feed([]byte("DATA\r\n"), nil)
	if out := string(c.s.Expired(nil)); !strings.HasPrefix(out, "452 4.3.1 ") || c.s.Request() != session.RequestInput {
		t.Errorf("replies %q, request %d, want 452 and input", out, c.s.Request())
	}
}

// TestProgress: complete commands make progress, bytes do not.
func TestProgress(t *testing.T) {
	c := newClient(t, testSettings(t))
	c.sizes = func() int { return 1 }
	for _, line := range []string{"HELO x", "BLAH", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "NOOP", "BDAT 2\r\nxy"[:9], "RSET"} {
		before := c.s.Progress()
		half := line[:len(line)/2]
		if c.sendRaw(half); c.s.Progress() != before {
			t.Errorf("half of %q makes progress", line)
		}
		if c.sendRaw(line[len(half):] + "\r\n"); c.s.Progress() == before {
			t.Errorf("%q makes no progress", line)
		}
	}
	c.end()
}

// TestDrain: an idle session ends immediately, and other sessions when they become idle.
func TestDrain(t *testing.T) {
	for _, start := range starts {
		t.Run(start.name, func(t *testing.T) {
			c := at(t, start.lines)
			if c.s.Idle() != start.idle {
				t.Errorf("Idle: %v, want %v", c.s.Idle(), start.idle)
			}
			out := string(c.s.Drain(nil))
			if start.idle {
				if !strings.HasPrefix(out, "421 4.3.2 ") || c.s.Request() != session.RequestClose {
					t.Errorf("Drain: replies %q, request %d, want 421 and close", out, c.s.Request())
				}
				return
			}
			if out != "" || c.s.Request() == session.RequestClose {
				t.Fatalf("Drain during a transaction: replies %q, request %d", out, c.s.Request())
			}
			if out := string(c.s.Terminate(nil)); !strings.HasPrefix(out, "421 4.3.2 ") || c.s.Request() != session.RequestClose {
				t.Errorf("Terminate: replies %q, request %d, want 421 and close", out, c.s.Request())
			}
			c.end()
		})
	}

	ends := map[string]struct {
		lines []string
		codes string
	}{
		"data":      {[]string{"DATA", "x", "."}, "354 250 421"},
		"chunk":     {[]string{"BDAT 0 LAST"}, "250 421"},
		"rset":      {[]string{"RSET"}, "250 421"},
		"hello":     {[]string{"HELO y"}, "250 421"},
		"quit":      {[]string{"QUIT"}, "221"},
		"pipelined": {[]string{"DATA", "x", ".", "MAIL FROM:<a@example.org>"}, "354 250 421"},
		"too big":   {[]string{"BDAT 200000 LAST", strings.Repeat("x", 200_000)}, "552 421"},
		"unknown":   {[]string{"BLAH", "RSET"}, "500 250 421"},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, testSettings(t))
			c.expect("250 250 250", "HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>")
			c.out = c.s.Drain(nil)
			c.expect(end.codes, end.lines...)
			c.end()
		})
	}
}

// TestDrainInHandshake: the session sends no reply during a handshake.
func TestDrainInHandshake(t *testing.T) {
	c := newClient(t, testSettings(t))
	c.expect("220", "STARTTLS")
	if out := c.s.Drain(nil); len(out) > 0 || c.s.Request() != session.RequestStartTLS {
		t.Fatalf("Drain in the handshake: replies %q, request %d", out, c.s.Request())
	}
	c.s.TLSStarted("TLS1.3")
	c.expect("421", "NOOP")
	if out := c.s.Terminate(nil); len(out) > 0 {
		t.Errorf("Terminate after the end: replies %q, want none", out)
	}

	for name, end := range map[string]func(*session.Session, []byte) []byte{"Expired": (*session.Session).Expired, "Terminate": (*session.Session).Terminate} {
		c = newClient(t, testSettings(t))
		c.expect("220", "STARTTLS")
		if out := end(c.s, nil); len(out) > 0 || c.s.Request() != session.RequestClose {
			t.Errorf("%s in the handshake: replies %q, request %d, want close", name, out, c.s.Request())
		}
	}
}

// TestAbort loses the connection in each state.
func TestAbort(t *testing.T) {
	for _, start := range starts {
		t.Run(start.name, func(t *testing.T) {
			c := at(t, start.lines)
			c.end()
			c.end()
			if c.s.Request() != session.RequestClose {
				t.Errorf("request %d, want close", c.s.Request())
			}
		})
	}
}

// TestAbortWhileSaving: the session keeps the buffer until Saved.
func TestAbortWhileSaving(t *testing.T) {
	c := newClient(t, testSettings(t))
	c.store = func(e *envelope.Envelope) error {
		for _, do := range []func([]byte) []byte{c.s.Expired, c.s.Drain, c.s.Terminate} {
			if out := do(nil); len(out) > 0 || c.s.Request() != session.RequestSave {
				t.Errorf("replies %q, request %d while saving", out, c.s.Request())
			}
		}
		c.s.Abort()
		if len(c.memory.held) != 1 || string(e.Message()) != "x\r\n" {
			t.Error("Abort has released the buffer")
		}
		return nil
	}
	if replies := c.send("HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA", "x", ".", "NOOP"); strings.Contains(replies, "queued") {
		t.Errorf("replies %q after Abort, want none", replies)
	}
	if len(c.stored) != 1 || !strings.Contains(c.log.String(), "message accepted") {
		t.Error("the message is not stored and logged")
	}
	c.end()
}
