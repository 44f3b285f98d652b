package session_test

import (
	"testing"
	"time"

	"goguerrillad/internal/session"
	"goguerrillad/internal/test/dialogue"
)

// TestWhileRecipientIsAsked: a client waits for the answer about a recipient as long as it
// takes. Only Cut ends the wait.
func TestWhileRecipientIsAsked(t *testing.T) {
	begin := func() *client {
		c := newClient(t, usual(t))
		c.settings.Recipients = dialogue.Recipients{}
		c.expect("250 250", "HELO x", "MAIL FROM:<a@example.org>")
		if used, out := c.s.Feed([]byte("RCPT TO:<later@example.com>\r\nNOOP\r\n"), nil); used != 29 || len(out) > 0 || c.s.Wish() != session.WishRecipient || c.s.Idle() {
			t.Fatalf("used %d, answer %q, wish %d", used, out, c.s.Wish())
		}
		return c
	}
	c := begin()
	c.now = c.now.Add(time.Hour)
	for name, event := range map[string]func(*session.Session, []byte) []byte{"Expired": (*session.Session).Expired, "Drain": (*session.Session).Drain} {
		if out := event(c.s, nil); len(out) > 0 || c.s.Wish() != session.WishRecipient {
			t.Errorf("%s: %q, wish %d", name, out, c.s.Wish())
		}
	}
	if used, out := c.s.Feed([]byte("NOOP\r\n"), nil); used > 0 || len(out) > 0 {
		t.Errorf("used %d, answer %q before the answer", used, out)
	}
	if out := c.s.Checked(nil, nil); codesOf(string(out)) != "250" {
		t.Errorf("answer %q", out)
	}
	c.end()

	c = begin()
	if out := c.s.Cut(nil); codesOf(string(out)) != "421" || c.s.Wish() != session.WishClose {
		t.Errorf("cut: %q, wish %d", out, c.s.Wish())
	}
	if out := c.s.Checked(nil, nil); len(out) > 0 {
		t.Errorf("answer %q after the end", out)
	}
	c.end()
}
