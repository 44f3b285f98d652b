package session_test

import (
	"strings"
	"testing"
	"time"
	"unsafe"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/session"
)

// start brings a session to where it is in the middle of something.
var starts = []struct {
	name  string
	lines []string // CR LF is put behind each
	idle  bool
	text  bool
}{
	{"greeted", nil, true, false},
	{"met", []string{"HELO x"}, true, false},
	{"mail", []string{"HELO x", "MAIL FROM:<a@example.org>"}, false, false},
	{"rcpt", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>"}, false, false},
	{"data", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA"}, false, true},
	{"chunk", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "BDAT 1000000"}, false, true},
	{"between chunks", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "BDAT 2", ""}, false, false},
	{"void data", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA", strings.Repeat("x", 200_000)}, false, true},
	{"void chunk", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "BDAT 90000000"}, false, true},
	{"unasked chunk", []string{"BDAT 90000000"}, false, true},
	{"half a command", []string{"HELO x", "\x00"}, true, false},
}

// at returns a session at one of the starts, a bare CR LF short.
func at(t *testing.T, lines []string) *client {
	c := newClient(t, usual(t))
	c.settings.MaxSize = 1_000_000
	if len(lines) > 0 && len(lines[len(lines)-1]) == 200_000 {
		c.settings.MaxSize = 100_000
	}
	c.say(lines...)
	return c
}

// TestExpired: a command has Timeout, and text goes on while it comes at 100
// bytes a second.
func TestExpired(t *testing.T) {
	for _, start := range starts {
		t.Run(start.name, func(t *testing.T) {
			c := at(t, start.lines)
			if start.text {
				for _, n := range []int{10_000, 10_001, 50_000} {
					// What came before the window does not count.
					c.sayRaw(strings.Repeat("y", n))
					c.now = c.now.Add(100 * time.Second)
					if out := c.s.Expired(nil); len(out) > 0 || c.s.Wish() != session.WishInput {
						t.Fatalf("%d bytes are too slow: %q", n, out)
					}
				}
				c.sayRaw(strings.Repeat("y", 9_999))
				c.now = c.now.Add(100 * time.Second)
			}
			if out := string(c.s.Expired(nil)); !strings.HasPrefix(out, "421 4.4.2 ") || c.s.Wish() != session.WishClose {
				t.Fatalf("answer %q, wish %d", out, c.s.Wish())
			}
			if len(c.memory.held) != 0 {
				t.Error("memory is held")
			}
			if out := c.s.Expired(nil); len(out) > 0 {
				t.Errorf("a second answer: %q", out)
			}
			c.end()
		})
	}
}

// TestClockSteps: a wall clock that is set forward ends no transfer, and one
// that is set back keeps no slow transfer alive.
func TestClockSteps(t *testing.T) {
	for _, start := range starts {
		if !start.text {
			continue
		}
		for _, step := range []int{+3600, -3600} {
			c := at(t, start.lines)
			c.sayRaw(strings.Repeat("y", 10_000))
			c.now = stepped(c.now.Add(100*time.Second), step)
			if out := c.s.Expired(nil); len(out) > 0 {
				t.Errorf("%s, %+d s: 100 bytes/s are too slow: %q", start.name, step, out)
			}
			c.sayRaw(strings.Repeat("y", 9_999))
			c.now = stepped(c.now.Add(100*time.Second), step)
			if out := string(c.s.Expired(nil)); !strings.HasPrefix(out, "421 4.4.2 ") {
				t.Errorf("%s, %+d s: below 100 bytes/s the session replies %q", start.name, step, out)
			}
		}
	}
}

// stepped returns t as time.Now would return it after the wall clock was set
// forward by a number of seconds. The monotonic reading stays.
func stepped(t time.Time, seconds int) time.Time {
	// Of package time's representation: 33 bits of seconds above 30 bits of
	// nanoseconds.
	wall := (*uint64)(unsafe.Pointer(&t))
	*wall += uint64(seconds) << 30
	return t
}

// TestStepped: the helper does what its name promises.
func TestStepped(t *testing.T) {
	now := time.Now()
	for _, step := range []int{+3600, -3600} {
		after := stepped(now, step)
		if wall := after.Unix() - now.Unix(); wall != int64(step) || after.Sub(now) != 0 {
			t.Errorf("the wall clock moved by %d s, the monotonic clock by %v, want %d s and 0", wall, after.Sub(now), step)
		}
	}
}

// TestExpiredAfterRoom: the client is not charged for our own waiting.
func TestExpiredAfterRoom(t *testing.T) {
	c := at(t, []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA"})
	turns := c.s.Turns()
	c.memory.deny = func(int, int) bool { return true }
	c.room = func() bool {
		c.now = c.now.Add(time.Hour)
		c.memory.deny = nil
		return true
	}
	c.sayRaw(strings.Repeat("x", 10_000))
	if c.s.Turns() == turns {
		t.Error("room is no turn")
	}
	c.sayRaw(strings.Repeat("x", 10_000))
	c.now = c.now.Add(100 * time.Second)
	if out := c.s.Expired(nil); len(out) > 0 {
		t.Errorf("answer %q", out)
	}
	c.end()

	// When time is up while waiting, it is memory that was lacking.
	c = newClient(t, usual(t))
	c.expect("250 250 250", "HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>")
	c.memory.deny = func(int, int) bool { return true }
	c.s.Feed([]byte("DATA\r\n"), nil)
	if out := string(c.s.Expired(nil)); !strings.HasPrefix(out, "452 4.3.1 ") || c.s.Wish() != session.WishInput {
		t.Errorf("answer %q, wish %d", out, c.s.Wish())
	}
}

// TestTurns: every command and every text renews the time, a byte does not.
func TestTurns(t *testing.T) {
	c := newClient(t, usual(t))
	c.sizes = func() int { return 1 }
	for _, line := range []string{"HELO x", "BLAH", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "NOOP", "BDAT 2\r\nxy"[:9], "RSET"} {
		before := c.s.Turns()
		half := line[:len(line)/2]
		if c.sayRaw(half); c.s.Turns() != before {
			t.Errorf("half of %q is a turn", line)
		}
		if c.sayRaw(line[len(half):] + "\r\n"); c.s.Turns() == before {
			t.Errorf("%q is no turn", line)
		}
	}
	c.end()
}

// TestDrain: an idle session ends at once, others when they become idle.
func TestDrain(t *testing.T) {
	for _, start := range starts {
		t.Run(start.name, func(t *testing.T) {
			c := at(t, start.lines)
			if c.s.Idle() != start.idle {
				t.Errorf("Idle is %v", c.s.Idle())
			}
			out := string(c.s.Drain(nil))
			if start.idle {
				if !strings.HasPrefix(out, "421 4.3.2 ") || c.s.Wish() != session.WishClose {
					t.Errorf("answer %q, wish %d", out, c.s.Wish())
				}
				return
			}
			if out != "" || c.s.Wish() == session.WishClose {
				t.Fatalf("a transaction is cut: %q", out)
			}
			if out := string(c.s.Cut(nil)); !strings.HasPrefix(out, "421 4.3.2 ") || c.s.Wish() != session.WishClose {
				t.Errorf("cut: answer %q, wish %d", out, c.s.Wish())
			}
			c.end()
		})
	}

	ends := map[string]struct {
		lines []string
		codes string
	}{
		"data":       {[]string{"DATA", "x", "."}, "354 250 421"},
		"chunk":      {[]string{"BDAT 0 LAST"}, "250 421"},
		"rset":       {[]string{"RSET"}, "250 421"},
		"hello":      {[]string{"HELO y"}, "250 421"},
		"quit":       {[]string{"QUIT"}, "221"},
		"pipelined":  {[]string{"DATA", "x", ".", "MAIL FROM:<a@example.org>"}, "354 250 421"},
		"too big":    {[]string{"BDAT 200000 LAST", strings.Repeat("x", 200_000)}, "552 421"},
		"no command": {[]string{"BLAH", "RSET"}, "500 250 421"},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, usual(t))
			c.expect("250 250 250", "HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>")
			c.out = c.s.Drain(nil)
			c.expect(end.codes, end.lines...)
			c.end()
		})
	}
}

// TestDrainInHandshake says nothing until TLS is there.
func TestDrainInHandshake(t *testing.T) {
	c := newClient(t, usual(t))
	c.expect("220", "STARTTLS")
	if out := c.s.Drain(nil); len(out) > 0 || c.s.Wish() != session.WishStartTLS {
		t.Fatalf("%q in the handshake", out)
	}
	c.s.TLSStarted("TLS1.3")
	c.expect("421", "NOOP")
	if out := c.s.Cut(nil); len(out) > 0 {
		t.Errorf("%q behind the end", out)
	}

	for name, end := range map[string]func(*session.Session, []byte) []byte{"Expired": (*session.Session).Expired, "Cut": (*session.Session).Cut} {
		c = newClient(t, usual(t))
		c.expect("220", "STARTTLS")
		if out := end(c.s, nil); len(out) > 0 || c.s.Wish() != session.WishClose {
			t.Errorf("%s in the handshake: %q and wish %d", name, out, c.s.Wish())
		}
	}
}

// TestAbort: the connection goes at any moment.
func TestAbort(t *testing.T) {
	for _, start := range starts {
		t.Run(start.name, func(t *testing.T) {
			c := at(t, start.lines)
			c.end()
			c.end()
			if c.s.Wish() != session.WishClose {
				t.Errorf("wish is %d", c.s.Wish())
			}
		})
	}
}

// TestAbortWhileSaving: the buffer is the saver's until it is done with it.
func TestAbortWhileSaving(t *testing.T) {
	c := newClient(t, usual(t))
	c.store = func(e *envelope.Envelope) error {
		for _, do := range []func([]byte) []byte{c.s.Expired, c.s.Drain, c.s.Cut} {
			if out := do(nil); len(out) > 0 || c.s.Wish() != session.WishSave {
				t.Errorf("%q while saving, wish %d", out, c.s.Wish())
			}
		}
		c.s.Abort()
		if len(c.memory.held) != 1 || string(e.Message()) != "x\r\n" {
			t.Error("the saver's buffer is gone")
		}
		return nil
	}
	if answer := c.say("HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA", "x", ".", "NOOP"); strings.Contains(answer, "queued") {
		t.Errorf("answer to a client that is gone: %q", answer)
	}
	if len(c.stored) != 1 || !strings.Contains(c.log.String(), "message accepted") {
		t.Error("the message is not logged")
	}
	c.end()
}
