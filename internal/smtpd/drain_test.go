package smtpd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
	"goguerrillad/internal/smtpd"
)

// TestDrain: idle sessions get 421, transactions in flight finish, no connection
// is accepted, and the listening socket stays open.
func TestDrain(t *testing.T) {
	for _, inside := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", inside), func(t *testing.T) {
			h := newHeld()
			f := start(t, func(s *setup) { s.save, s.loops = h.save, 4 })
			open := func() *client {
				c := f.greeted()
				if inside {
					c.startTLS()
					c.cmd("EHLO client.example", "250")
				}
				return c
			}
			idle, mail, data, saving := open(), open(), open(), open()
			fresh := f.dial()
			fresh.expect("220")
			mail.cmd("MAIL FROM:<a@example.org>", "250")
			data.begin()
			data.send("half a te")
			saving.begin()
			saving.send("text\r\n.\r\n")
			done := <-h.dones

			drained := make(chan error, 1)
			go func() { drained <- f.shutdown() }()
			for _, c := range []*client{idle, fresh} {
				c.expect("421 4.3.2")
				c.expectEnd()
			}
			// The backlog still takes connections, but the server does not accept them.
			late, err := net.Dial("tcp", f.addr)
			if err != nil {
				t.Fatalf("connecting to the listening socket: %v", err)
			}
			defer late.Close()

			done(nil)
			saving.expect("250 2.0.0 OK: queued")
			saving.expect("421 4.3.2")
			saving.expectEnd()
			data.send("xt\r\n.\r\n")
			<-h.envelopes
			(<-h.dones)(nil)
			data.expect("250 2.0.0 OK: queued")
			data.expect("421 4.3.2")
			mail.cmd("RSET", "250")
			mail.expect("421 4.3.2")
			for _, c := range []*client{idle, fresh, saving, data, mail} {
				c.Close()
			}
			if err := <-drained; err != nil {
				t.Error(err)
			}
			if s := f.server.Stats(); s.Accepted != 5 || s.Sessions != 0 || s.Memory != 0 {
				t.Errorf("Stats() = %+v, want 5 accepted, no sessions, no memory in use", s)
			}
		})
	}
}

// oneLookup is session.Recipients that knows every recipient except address.
type oneLookup struct {
	lookups
	address string
}

func (a oneLookup) Known(address string) (*smtp.Reply, bool) { return nil, address != a.address }

// TestDrainWithoutProgress: a drain terminates a transaction that makes no
// progress, long before its timeout. The duration of a commit or of a recipient
// lookup does not count against the client.
func TestDrainWithoutProgress(t *testing.T) {
	if testing.Short() {
		t.Skip("takes six seconds")
	}
	h, pending := newHeld(), make(lookups, 1)
	f := start(t, func(s *setup) {
		s.save, s.settings.Recipients = h.save, oneLookup{pending, "ask@example.com"}
		s.loops, s.sendBuffer = 1, 4096
	})
	idle, data, later, mail, asking := f.greeted(), f.greeted(), f.greeted(), f.greeted(), f.greeted()
	for _, c := range []*client{data, later} {
		c.begin()
		c.send("half a te")
	}
	for _, c := range []*client{mail, asking} {
		c.cmd("MAIL FROM:<a@example.org>", "250")
	}
	asking.send("RCPT TO:<ask@example.com>\r\n")
	answer := <-pending
	saving := f.dialBy(net.Dialer{Control: smallWindow}, "tcp", f.addr)
	const replies = 300 // more than the socket takes
	saving.send(strings.Repeat("EHLO a\r\n", replies) + "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nBDAT 6 LAST\r\ntext\r\n")
	done := <-h.dones

	drained := make(chan error, 1)
	go func() { drained <- f.shutdown() }()
	idle.expect("421 4.3.2")
	f.await("close of the idle session", func(s smtpd.Stats) bool { return s.Sessions == 5 })
	later.send("x")
	for _, c := range []*client{data, mail} {
		c.expect("421 4.3.2")
	}
	answer(nil)
	done(nil)
	later.expect("421 4.3.2") // asking and saving are not terminated by then
	asking.expect("250")
	asking.cmd("RSET", "250")
	asking.expect("421 4.3.2")
	saving.expect("220")
	for range replies + 2 {
		saving.expect("250")
	}
	saving.expect("250 2.0.0 OK: queued")
	saving.expect("421 4.3.2")
	for _, c := range []*client{data, later, mail, asking, saving} {
		c.Close()
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// TestDrainTerminate: when the context of Shutdown is done, each session gets 421
// and ends.
func TestDrainTerminate(t *testing.T) {
	h := newHeld()
	f := start(t, func(s *setup) { s.save = h.save })
	data, saving, handshaking := f.greeted(), f.greeted(), f.greeted()
	data.begin()
	saving.begin()
	saving.send("text\r\n.\r\n")
	<-h.envelopes
	handshaking.cmd("STARTTLS", "220")
	handshaking.send("\x16\x03\x01\x00\xff")
	cause := errors.New("second signal")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	if err := f.server.Shutdown(ctx); !errors.Is(err, cause) {
		t.Errorf("Shutdown returned %v, want %v", err, cause)
	}
	data.expect("421 4.3.2")
	saving.expect("421 4.3.2")
	(<-h.dones)(nil) // is ignored
	if s := f.server.Stats(); s.Sessions != 0 {
		t.Errorf("%d sessions after Shutdown", s.Sessions)
	}
}

// TestDrainGoneClient: a drain waits for the outcome of a message whose client
// has disconnected, so that the log has the outcome.
func TestDrainGoneClient(t *testing.T) {
	h := newHeld()
	f := start(t, func(s *setup) { s.save = h.save })
	c := f.greeted()
	c.begin()
	c.send("text\r\n.\r\n")
	done := <-h.dones
	c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
	f.await("close of the connection", func(s smtpd.Stats) bool { return s.Sessions == 0 })
	drained := make(chan error, 1)
	go func() { drained <- f.shutdown() }()
	select {
	case err := <-drained:
		t.Fatalf("Shutdown returned %v before the outcome", err)
	case <-time.After(200 * time.Millisecond):
	}
	done(nil)
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if log := f.log.String(); !strings.Contains(log, "message accepted") {
		t.Errorf("the log lacks the outcome:\n%s", log)
	}
}

// TestStartOnce: Start fails if the server was started before, or after Shutdown,
// which a signal may cause before the start.
func TestStartOnce(t *testing.T) {
	f := start(t, nil)
	if err := f.server.Start(nil); err == nil {
		t.Error("Start of a running server did not fail")
	}
	for range 2 {
		if err := f.shutdown(); err != nil {
			t.Error(err)
		}
	}
	if err := f.server.Start(nil); err == nil {
		t.Error("Start of a stopped server did not fail")
	}
	environment := &session.Environment{Settings: f.settings.Load, Log: slog.New(slog.DiscardHandler)}
	server, err := smtpd.New(smtpd.Options{Environment: environment, Save: f.keep})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := server.Start(nil); err == nil {
		t.Error("Start after Shutdown did not fail")
	}
}
