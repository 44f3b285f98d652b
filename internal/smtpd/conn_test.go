package smtpd_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/smtpd"
)

// held is a Save function whose outcomes the test decides.
type held struct {
	envelopes chan *envelope.Envelope
	dones     chan func(error)
}

func newHeld() *held {
	return &held{make(chan *envelope.Envelope, 1000), make(chan func(error), 1000)}
}

func (h *held) save(e *envelope.Envelope, done func(error)) {
	h.envelopes <- e
	h.dones <- done
}

// TestClientThatDoesNotRead: the server stops reading from a client that reads
// no replies, and continues when the client reads.
func TestClientThatDoesNotRead(t *testing.T) {
	f := start(t, func(s *setup) { s.loops = 1 })
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			readLate(t, f)
		})
	}
}

func readLate(t *testing.T, f *fixture) {
	slow := f.dialTo("unix", f.unix) // its buffers do not grow to many megabytes
	slow.t = t
	slow.expect("220")
	// The sockets do not accept that many replies, and the server must not keep
	// them in memory.
	const group, groups = 1000, 60
	written := make(chan struct{})
	go func() {
		defer close(written)
		for range groups {
			slow.Write([]byte(strings.Repeat("EHLO a\r\n", group)))
		}
	}()
	select {
	case <-written:
		t.Fatal("the server reads all commands of a client that reads no replies")
	case <-time.After(200 * time.Millisecond):
	}
	// The loop serves other clients meanwhile.
	f.greeted().cmd("QUIT", "221")
	// When the client reads, it gets all replies.
	for range group * groups {
		slow.expect("250")
	}
}

// TestClientThatNeverReads: the server closes the connection of a client that
// reads no replies when its deadline has passed.
func TestClientThatNeverReads(t *testing.T) {
	f := start(t, func(s *setup) { s.settings.Timeout = 500 * time.Millisecond })
	c := f.greeted()
	c.Conn.(*net.TCPConn).SetReadBuffer(4096)
	var err error
	for ehlo := strings.Repeat("EHLO a\r\n", 1000); err == nil; {
		_, err = io.WriteString(c.Conn, ehlo)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	f.await("close of the connection", func(s smtpd.Stats) bool { return s.Sessions == 0 })
	if err := f.server.Ping(t.Context()); err != nil { // the round in which the connection was closed is complete
		t.Error(err)
	}
	if n := f.server.Stats().Expired; n != 1 {
		t.Errorf("%d connections closed at a deadline, want 1", n)
	}
}

// TestHalfClose: a client that has closed its writing side gets all replies,
// and its message is saved.
func TestHalfClose(t *testing.T) {
	for _, inside := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", inside), func(t *testing.T) {
			h := newHeld()
			f := start(t, func(s *setup) { s.save = h.save })
			c := f.greeted()
			if inside {
				c.startTLS()
				c.cmd("EHLO client.example", "250")
			}
			c.begin()
			c.send("text\r\n.\r\nNOOP\r\nNO")
			if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			<-h.envelopes
			(<-h.dones)(nil)
			c.expect("250 2.0.0 OK: queued")
			c.expect("250 2.0.0")
			c.expectEnd()
			f.await("close of the connection", func(s smtpd.Stats) bool { return s.Sessions == 0 && s.Memory == 0 })
		})
	}
}

// TestBufferIsKeptWhileSaving: no other message of the same loop uses the
// buffer of a message that is being saved.
func TestBufferIsKeptWhileSaving(t *testing.T) {
	h := newHeld()
	f := start(t, func(s *setup) { s.save, s.loops = h.save, 1 })
	var saving []*envelope.Envelope
	var texts []string
	for _, letter := range []string{"a", "b", "c"} {
		text := strings.Repeat(letter, 4000) + "\r\n"
		c := f.greeted()
		c.begin()
		c.send(text + ".\r\n")
		saving, texts = append(saving, <-h.envelopes), append(texts, text)
	}
	for i, e := range saving {
		if got := string(e.Message()); got != texts[i] {
			t.Errorf("message %d is %.20q while it is being saved, want %.20q", i, got, texts[i])
		}
	}
}

// TestResetDuringSave: if the client disconnects before the 250, its message is
// saved, and its memory is released after that.
func TestResetDuringSave(t *testing.T) {
	h := newHeld()
	f := start(t, func(s *setup) { s.save = h.save })
	c := f.greeted()
	c.begin()
	c.send("text\r\n.\r\n")
	e := <-h.envelopes
	c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
	f.await("close of the connection", func(s smtpd.Stats) bool { return s.Sessions == 0 })
	if f.server.Stats().Memory == 0 {
		t.Fatal("the message's memory was released while it was being saved")
	}
	if got := string(e.Message()); got != "text\r\n" {
		t.Errorf("message is %q, want %q", got, "text\r\n")
	}
	(<-h.dones)(nil)
	f.await("release of the memory", func(s smtpd.Stats) bool { return s.Memory == 0 })
	if log := f.log.String(); !strings.Contains(log, "message accepted") {
		t.Errorf("the log lacks the outcome:\n%s", log)
	}
}

// TestPipelinedDuringSave: commands that arrive while a message is being saved
// wait, however many there are, and get their replies in order.
func TestPipelinedDuringSave(t *testing.T) {
	h := newHeld()
	f := start(t, func(s *setup) { s.save = h.save; s.loops = 1 })
	c := f.greeted()
	c.begin()
	const noops = 100_000 // more than the server keeps
	go func() {
		io.WriteString(c.Conn, "one\r\n.\r\nMAIL FROM:<c@example.org>\r\nRCPT TO:<d@example.com>\r\nDATA\r\n")
		io.WriteString(c.Conn, "two\r\n.\r\n"+strings.Repeat("NOOP\r\n", noops))
	}()
	for _, want := range []string{"one\r\n", "two\r\n"} {
		if got := string((<-h.envelopes).Message()); got != want {
			t.Errorf("message is %q, want %q", got, want)
		}
		f.greeted().cmd("QUIT", "221") // the loop does not wait
		(<-h.dones)(nil)
		c.expect("250 2.0.0 OK: queued")
		if want == "one\r\n" {
			c.expect("250")
			c.expect("250")
			c.expect("354")
		}
	}
	for range noops {
		c.expect("250")
	}
}

// TestImmediateOutcome: Save may call done before it returns.
func TestImmediateOutcome(t *testing.T) {
	f := start(t, func(s *setup) {
		s.save = func(_ *envelope.Envelope, done func(error)) { done(nil) }
	})
	c := f.greeted()
	for range 3 {
		c.begin()
		c.cmd("text\r\n.", "250 2.0.0 OK: queued")
	}
}

// TestStoreFails: the client gets 451 if its message was not stored, and may try
// again in the same session.
func TestStoreFails(t *testing.T) {
	var err atomic.Pointer[error]
	down := errors.New("table is gone")
	err.Store(&down)
	f := start(t, func(s *setup) {
		s.save = func(_ *envelope.Envelope, done func(error)) { go done(*err.Load()) }
	})
	c := f.greeted()
	c.begin()
	c.cmd("text\r\n.", "451")
	up := error(nil)
	err.Store(&up)
	c.begin()
	c.cmd("text\r\n.", "250")
	for _, event := range []string{"message not stored", "message accepted"} {
		if n := strings.Count(f.log.String(), event); n != 1 {
			t.Errorf("%q is in the log %d times, want once:\n%s", event, n, f.log.String())
		}
	}
}

// TestLastReplyReceived: if the server closes the connection while the client is
// still sending, the client can read the last reply.
func TestLastReplyReceived(t *testing.T) {
	f := start(t, nil)
	for range 20 {
		c := f.greeted()
		// 20 errors end the session; the server discards the other commands.
		c.send(strings.Repeat("WRONG\r\n", 20000))
		for range 20 {
			c.expect("500")
		}
		c.expect("421")
		c.expectEnd()
	}
	f.await("close of the connections", func(s smtpd.Stats) bool { return s.Sessions == 0 })
}

// TestRepliesDuringWait: a client receives the replies that its socket did not
// accept at once while its session waits for memory, for a recipient lookup or
// for a commit.
func TestRepliesDuringWait(t *testing.T) {
	const size = 1 << 20
	h, pending := newHeld(), make(lookups, 1)
	f := start(t, func(s *setup) {
		s.save, s.settings.Recipients = h.save, oneLookup{pending, "ask@example.com"}
		s.settings.MaxSize, s.limits.Memory = size, 3*size/2
		s.loops, s.sendBuffer = 1, 4096
	})
	const mail, large = "MAIL FROM:<a@example.org>", " SIZE=1000000\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
	first := f.greeted()
	first.send(mail + large)
	first.expect("250")
	first.expect("250")
	first.expect("354") // first has the memory now
	for _, tt := range []struct {
		commands string
		replies  int
		waits    func() (end func())
		reply    string
	}{
		{large, 2, func() func() {
			f.await("wait for memory", func(s smtpd.Stats) bool { return s.Waiting == 1 })
			return func() { first.Close() }
		}, "354"},
		{"\r\nRCPT TO:<ask@example.com>\r\n", 1, func() func() {
			answer := <-pending
			return func() { answer(nil) }
		}, "250"},
		{"\r\nRCPT TO:<b@example.com>\r\nBDAT 6 LAST\r\ntext\r\n", 2, func() func() {
			done := <-h.dones
			return func() { done(nil) }
		}, "250 2.0.0 OK: queued"},
	} {
		c := f.dialBy(net.Dialer{Control: smallWindow}, "tcp", f.addr)
		c.expect("220")
		const more = 300
		c.send(strings.Repeat("EHLO a\r\n", more) + mail + tt.commands)
		end := tt.waits()
		for range more + tt.replies {
			c.expect("250")
		}
		end()
		c.expect(tt.reply)
	}
}
