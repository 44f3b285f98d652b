package smtpd_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"goguerrillad/internal/smtp"
	"goguerrillad/internal/smtpd"
)

// lookups is session.Recipients that knows no recipient. It passes each lookup
// to the test, which finishes it.
type lookups chan func(*smtp.Reply)

func (lookups) Known(string) (*smtp.Reply, bool) { return nil, false }

func (a lookups) Ask(_ string, done func(*smtp.Reply)) { a <- done }

var noSuchRecipient = &smtp.Reply{Code: 550, Enhanced: "5.1.1", Text: "Nobody"}

func startWithLookups(t *testing.T, timeout time.Duration) (*fixture, lookups) {
	pending := make(lookups, 10)
	return start(t, func(s *setup) {
		s.settings.Recipients, s.settings.Timeout = pending, timeout
		s.loops = 1
	}), pending
}

// beginLookup starts a transaction, up to the lookup of its recipient.
func (f *fixture) beginLookup(pending lookups) (c *client, done func(*smtp.Reply)) {
	f.t.Helper()
	c = f.greeted()
	c.cmd("MAIL FROM:<a@example.org>", "250")
	c.send("RCPT TO:<b@example.com>\r\n")
	return c, <-pending
}

// TestSlowLookup: a lookup blocks only its own session, and its duration does not
// count against the client's timeout.
func TestSlowLookup(t *testing.T) {
	f, pending := startWithLookups(t, 500*time.Millisecond)
	c, silent := f.greeted(), f.greeted()
	c.send("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<c@example.com>\r\nDATA\r\n")
	c.expect("250")
	first := <-pending
	f.greeted().cmd("QUIT", "221")
	silent.expect("421 4.4.2") // the lookup has taken longer than the timeout by now
	first(nil)
	c.expect("250 2.1.5")
	(<-pending)(noSuchRecipient)
	c.expect("550 5.1.1")
	c.expect("354")
	c.send("text\r\n.\r\n")
	c.expect("250")
	if m := f.messages(); len(m) != 1 || len(m[0].To) != 1 || m[0].To[0] != "b@example.com" {
		t.Errorf("stored messages are %v, want one for b@example.com", m)
	}
}

// TestDisconnectDuringLookup: the result of a lookup whose client has
// disconnected is ignored, even if another client has the same descriptor.
func TestDisconnectDuringLookup(t *testing.T) {
	f, pending := startWithLookups(t, time.Minute)
	c, late := f.beginLookup(pending)
	c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
	f.await("close of the connection", func(s smtpd.Stats) bool { return s.Sessions == 0 })
	other, mine := f.beginLookup(pending)
	late(noSuchRecipient)
	mine(nil)
	other.expect("250 2.1.5")
}

// TestDrainDuringLookup: a drain waits for the transaction and then ends the
// session.
func TestDrainDuringLookup(t *testing.T) {
	f, pending := startWithLookups(t, time.Minute)
	c, done := f.beginLookup(pending)
	idle := f.greeted()
	drained := make(chan error, 1)
	go func() { drained <- f.shutdown() }()
	idle.expect("421 4.3.2")
	idle.Close()
	done(nil)
	c.expect("250 2.1.5")
	c.cmd("DATA", "354")
	c.send("text\r\n.\r\nNOOP\r\n")
	c.expect("250 2.0.0 OK: queued")
	c.expect("421 4.3.2")
	c.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// TestTerminateDuringLookup: a shutdown does not wait for a lookup when its
// context is done.
func TestTerminateDuringLookup(t *testing.T) {
	f, pending := startWithLookups(t, time.Minute)
	c, done := f.beginLookup(pending)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.server.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown returned %v, want context.Canceled", err)
	}
	c.expect("421 4.3.2")
	done(nil) // is ignored
}
