package session_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
	"goguerrillad/internal/test/dialogue"
)

var errOutage = errors.New("store unavailable: disk full")

func isOutage(err error) bool { return errors.Is(err, errOutage) }

// sendMessage sends a message whose Save returns err.
func (c *client) sendMessage(err error) {
	c.store = func(*envelope.Envelope) error { return err }
	c.send("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA", "text", ".")
}

// minute waits for a minute and for the timers that run in it.
func minute() {
	time.Sleep(time.Minute)
	synctest.Wait()
}

// TestRepeats: in an outage the first refusal is logged, then a count each minute.
func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, testSettings(t))
		c.environment.Repeats = session.NewRepeats(c.environment.Log, isOutage)
		want := func(when string, lines, counts int) {
			t.Helper()
			if n := c.log.Count(`msg="message not stored"`); n != lines {
				t.Errorf("%s: %d log lines, want %d", when, n, lines)
			}
			if n := c.log.Count("count="); n != counts {
				t.Errorf("%s: %d counts, want %d", when, n, counts)
			}
		}
		c.send("HELO x")
		for range 50 {
			c.sendMessage(errOutage)
		}
		want("50 messages", 1, 0)
		minute()
		want("after a minute", 1, 1)
		if log := c.log.String(); !strings.Contains(log, `level=WARN msg="messages not stored" count=49 interval=1m0s reason="store unavailable: disk full"`) {
			t.Errorf("after a minute: %s", log)
		}
		c.sendMessage(errOutage)
		want("in the second minute", 1, 1)
		minute()
		want("after the second minute", 1, 2)
		minute()
		want("after a minute without messages", 1, 2)
		time.Sleep(30 * time.Second)
		c.sendMessage(errOutage)
		c.sendMessage(errOutage)
		time.Sleep(59 * time.Second)
		want("the next outage", 2, 2)
		time.Sleep(time.Second)
		synctest.Wait()
		want("a minute of the next outage", 2, 3)
		c.sendMessage(errOutage)
		c.environment.Repeats.Close()
		want("the end", 2, 4)
		minute()
		want("a minute after the end", 2, 4)
		c.end()
	})
}

// TestRepeatsOutageOnly: messages that are accepted, or refused for other reasons, are
// logged during an outage.
func TestRepeatsOutageOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, testSettings(t))
		c.environment.Repeats = session.NewRepeats(c.environment.Log, isOutage)
		c.send("HELO x")
		for range 3 {
			c.sendMessage(errOutage)
			c.sendMessage(errors.New("the value is too long"))
			c.sendMessage(smtp.Reply{Code: 550, Enhanced: "5.7.1", Text: "Message refused"})
			c.sendMessage(nil)
			c.send("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>", "RSET")
		}
		for text, want := range map[string]int{
			"disk full": 1, "the value is too long": 3, `reply="550 5.7.1 Message refused"`: 3,
			`msg="message accepted"`: 3, `msg="recipient refused"`: 3,
		} {
			if n := c.log.Count(text); n != want {
				t.Errorf("%d log lines with %q, want %d", n, text, want)
			}
		}
		c.end()
	})
}

// TestRepeatsBounded: beyond maxReasons, refusals are counted together.
func TestRepeatsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, testSettings(t))
		c.environment.Repeats = session.NewRepeats(c.environment.Log, isOutage)
		c.send("HELO x")
		for n := range 500 {
			c.sendMessage(fmt.Errorf("connection %d: %w", n, errOutage))
		}
		if n := c.log.Count(`msg="message not stored"`); n > 25 {
			t.Errorf("%d log lines, want at most 25", n)
		}
		minute()
		if log := c.log.String(); strings.Count(log, "count=") != 1 || !strings.Contains(log, `reason="other reasons"`) {
			t.Errorf("after a minute: %s", log)
		}
		c.end()
	})
}

// TestRepeatedReplies: recipients that cannot be checked and messages without memory
// are counted.
func TestRepeatedReplies(t *testing.T) {
	for _, tt := range []struct {
		name       string
		prepare    func(*client)
		lines      []string // of the client, after MAIL
		own, count string   // log lines of the first refusal and of the count
	}{
		{"recipients", func(c *client) { c.settings.Recipients = dialogue.Recipients{} }, []string{"RCPT TO:<later@example.com>", "RSET"},
			`msg="recipient refused"`, `level=INFO msg="recipients refused" count=9 interval=1m0s reason="451 4.3.0 Later"`},
		{"memory", func(c *client) { c.memory.deny = func(int, int) bool { return true } }, []string{"RCPT TO:<b@example.com>", "DATA", "RSET"},
			`msg="message refused"`, `level=WARN msg="messages refused" count=9 interval=1m0s reason="452 4.3.1 Out of memory`},
		{"disk space", func(c *client) { c.environment.Full = func() bool { return true } }, nil,
			`msg="message refused"`, `level=WARN msg="messages refused" count=9 interval=1m0s reason="452 4.3.1 Not enough disk space`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, testSettings(t))
				c.environment.Repeats = session.NewRepeats(c.environment.Log, isOutage)
				tt.prepare(c)
				c.send("HELO x")
				for range 10 {
					c.send("MAIL FROM:<a@example.org>")
					c.send(tt.lines...)
				}
				if n := c.log.Count(tt.own); n != 1 {
					t.Errorf("%d log lines, want 1", n)
				}
				minute()
				if c.log.Count(tt.count) != 1 {
					t.Errorf("after a minute: %s", &c.log)
				}
				minute()
				c.end()
			})
		})
	}
}
