package session_test

import (
	"testing"
	"time"

	"goguerrillad/internal/session"
	"goguerrillad/internal/test/dialogue"
)

// TestRecipientCheckPending: only Terminate ends the wait for the check of a recipient.
func TestRecipientCheckPending(t *testing.T) {
	begin := func() *client {
		c := newClient(t, testSettings(t))
		c.settings.Recipients = dialogue.Recipients{}
		c.expect("250 250", "HELO x", "MAIL FROM:<a@example.org>")
		if used, out := c.s.Feed([]byte("RCPT TO:<later@example.com>\r\nNOOP\r\n"), nil); used != 29 || len(out) > 0 || c.s.Request() != session.RequestRecipient || c.s.Idle() {
			t.Fatalf("Feed used %d bytes, replies %q, request %d", used, out, c.s.Request())
		}
		return c
	}
	c := begin()
	c.now = c.now.Add(time.Hour)
	for name, event := range map[string]func(*session.Session, []byte) []byte{"Expired": (*session.Session).Expired, "Drain": (*session.Session).Drain} {
		if out := event(c.s, nil); len(out) > 0 || c.s.Request() != session.RequestRecipient {
			t.Errorf("%s: replies %q, request %d", name, out, c.s.Request())
		}
	}
	if used, out := c.s.Feed([]byte("NOOP\r\n"), nil); used > 0 || len(out) > 0 {
		t.Errorf("before Checked: Feed used %d bytes, replies %q", used, out)
	}
	if out := c.s.Checked(nil, nil); codesOf(string(out)) != "250" {
		t.Errorf("Checked: replies %q, want 250", out)
	}
	c.end()

	c = begin()
	if out := c.s.Terminate(nil); codesOf(string(out)) != "421" || c.s.Request() != session.RequestClose {
		t.Errorf("Terminate: replies %q, request %d", out, c.s.Request())
	}
	if out := c.s.Checked(nil, nil); len(out) > 0 {
		t.Errorf("Checked after Terminate: replies %q, want none", out)
	}
	c.end()
}
