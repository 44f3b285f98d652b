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
	"goguerrillad/internal/session/dialogue"
	"goguerrillad/internal/smtp"
)

var errOutage = errors.New("store unavailable: disk full")

func isOutage(err error) bool { return errors.Is(err, errOutage) }

// send sends a message whose Save returns err.
func (c *client) send(err error) {
	c.store = func(*envelope.Envelope) error { return err }
	c.say("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA", "text", ".")
}

// lines returns how many lines of the log have a text, and empties the log.
func (c *client) lines(text string) int {
	n := strings.Count(c.log.String(), text)
	c.log.Reset()
	return n
}

// TestRepeats: in an outage the first message has its line, then a count comes
// every minute.
func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, usual(t))
		c.world.Repeats = session.NewRepeats(isOutage)
		minute := func() {
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		c.say("HELO x")
		for range 50 {
			c.send(errOutage)
		}
		if n := c.lines(`msg="message not stored"`); n != 1 {
			t.Errorf("%d lines of 50 messages, want 1", n)
		}
		minute()
		if log := c.log.String(); !strings.Contains(log, `level=WARN msg="messages not stored" count=49 interval=1m0s reason="store unavailable: disk full"`) {
			t.Errorf("after a minute: %s", log)
		}
		c.send(errOutage)
		if n := c.lines(`msg="message not stored"`); n != 0 {
			t.Errorf("%d lines in the second minute", n)
		}
		minute()
		if n := c.lines("count=1 "); n != 1 {
			t.Errorf("%d counts after the second minute", n)
		}
		minute()
		if n := c.lines("count="); n != 0 {
			t.Errorf("%d counts of nothing", n)
		}
		c.send(errOutage)
		if n := c.lines(`msg="message not stored"`); n != 1 {
			t.Errorf("%d lines of the next outage", n)
		}
		minute()
		c.end()
	})
}

// TestRepeatsKeep: a message that was accepted, or refused for its own reason, has
// its line in an outage too.
func TestRepeatsKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, usual(t))
		c.world.Repeats = session.NewRepeats(isOutage)
		c.say("HELO x")
		for range 3 {
			c.send(errOutage)
			c.send(errors.New("the value is too long"))
			c.send(smtp.Reply{Code: 550, Enhanced: smtp.RelayDenied, Text: "Message refused"})
			c.send(nil)
			c.say("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>", "RSET")
		}
		log := c.log.String()
		for text, want := range map[string]int{
			"disk full": 1, "the value is too long": 3, "550 5.7.1 Message refused": 3, `msg="message accepted"`: 3, `msg="recipient refused"`: 3,
		} {
			if n := strings.Count(log, text+`"`) + strings.Count(log, text+" "); n < want || want == 1 && n != 1 {
				t.Errorf("%q is in %d lines, want %d", text, n, want)
			}
		}
		c.end()
	})
}

// TestRepeatsBounded: reasons that differ each time are counted together.
func TestRepeatsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, usual(t))
		c.world.Repeats = session.NewRepeats(isOutage)
		c.say("HELO x")
		for n := range 500 {
			c.send(fmt.Errorf("connection %d: %w", n, errOutage))
		}
		if n := c.lines(`msg="message not stored"`); n > 25 {
			t.Errorf("%d lines", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if log := c.log.String(); strings.Count(log, "count=") != 1 || !strings.Contains(log, `reason="other reasons"`) {
			t.Errorf("after a minute: %s", log)
		}
		c.end()
	})
}

// TestRepeatedRecipients: recipients who cannot be checked are counted as well.
func TestRepeatedRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, usual(t))
		c.world.Repeats = session.NewRepeats(isOutage)
		c.settings.Recipients = dialogue.Recipients{}
		c.say("HELO x", "MAIL FROM:<a@example.org>")
		for range 50 {
			c.say("RCPT TO:<later@example.com>")
		}
		if n := c.lines(`msg="recipient refused"`); n != 1 {
			t.Errorf("%d lines, want 1", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if log := c.log.String(); !strings.Contains(log, `level=INFO msg="recipients refused" count=49 interval=1m0s reason="451 4.3.0 Later"`) {
			t.Errorf("after a minute: %s", log)
		}
		c.end()
	})
}
