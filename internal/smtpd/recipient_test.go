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

// asked is session.Recipients in the test's hand: nothing is known, and each
// question waits for the test.
type asked chan func(*smtp.Reply)

func (asked) Known(string) (*smtp.Reply, bool) { return nil, false }

func (a asked) Ask(_ string, done func(*smtp.Reply)) { a <- done }

var nobody = &smtp.Reply{Code: 550, Enhanced: smtp.NoSuchMailbox, Text: "Nobody"}

func startAsking(t *testing.T, timeout time.Duration) (*fixture, asked) {
	questions := make(asked, 10)
	return start(t, func(s *setup) {
		s.settings.Recipients, s.settings.Timeout = questions, timeout
		s.loops = 1
	}), questions
}

// asking opens a transaction, up to the question about its recipient.
func (f *fixture) asking(questions asked) (c *client, done func(*smtp.Reply)) {
	f.t.Helper()
	c = f.greeted()
	c.say("MAIL FROM:<a@example.org>", "250")
	c.send("RCPT TO:<b@example.com>\r\n")
	return c, <-questions
}

// TestRecipientTakesTime: a question stops its own session alone, and its time
// is not the client's.
func TestRecipientTakesTime(t *testing.T) {
	f, questions := startAsking(t, 500*time.Millisecond)
	c, silent := f.greeted(), f.greeted()
	c.send("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<c@example.com>\r\nDATA\r\n")
	c.expect("250")
	first := <-questions
	f.greeted().say("QUIT", "221")
	silent.expect("421 4.4.2") // its time is over, and the other's would be
	first(nil)
	c.expect("250 2.1.5")
	(<-questions)(nobody)
	c.expect("550 5.1.1")
	c.expect("354")
	c.send("text\r\n.\r\n")
	c.expect("250")
	if m := f.messages(); len(m) != 1 || len(m[0].To) != 1 || m[0].To[0] != "b@example.com" {
		t.Errorf("stored %v", m)
	}
}

// TestGoneWhileAsked: an answer that comes when the client has gone meets
// nobody, neither in the same place nor in one that was given to another.
func TestGoneWhileAsked(t *testing.T) {
	f, questions := startAsking(t, time.Minute)
	c, late := f.asking(questions)
	c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
	f.await("descriptor given back", func(s smtpd.Stats) bool { return s.Sessions == 0 })
	other, mine := f.asking(questions)
	late(nobody)
	mine(nil)
	other.expect("250 2.1.5")
}

// TestDrainWhileAsked: the transaction goes on, as any other, and the session
// ends with it.
func TestDrainWhileAsked(t *testing.T) {
	f, questions := startAsking(t, time.Minute)
	c, done := f.asking(questions)
	idle := f.greeted()
	drained := make(chan error, 1)
	go func() { drained <- f.shutdown() }()
	idle.expect("421 4.3.2")
	idle.Close()
	done(nil)
	c.expect("250 2.1.5")
	c.say("DATA", "354")
	c.send("text\r\n.\r\nNOOP\r\n")
	c.expect("250 2.0.0 OK: queued")
	c.expect("421 4.3.2")
	c.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// TestCutWhileAsked: a question that is never answered holds no shutdown up.
func TestCutWhileAsked(t *testing.T) {
	f, questions := startAsking(t, time.Minute)
	c, done := f.asking(questions)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.server.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	c.expect("421 4.3.2")
	done(nil) // to nobody
}
