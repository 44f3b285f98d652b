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

// held is a saver whose outcomes the test gives.
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

func TestClientThatDoesNotRead(t *testing.T) {
	f := start(t, func(s *setup) { s.loops = 1 })
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			neverRead(t, f)
		})
	}
}

func neverRead(t *testing.T, f *fixture) {
	slow := f.dialTo("unix", f.unix) // whose buffers do not grow to many megabytes
	slow.t = t
	slow.expect("220")
	// Far more replies than the sockets take: the server must stop hearing it
	// instead of keeping them.
	const group, groups = 1000, 60
	written := make(chan struct{})
	go func() {
		defer close(written)
		for range groups {
			slow.Write([]byte(strings.Repeat("EHLO a\r\n", group)))
		}
	}()
	// Far more replies than the sockets take: the server must stop hearing it
	// instead of keeping them.
	select {
	case <-written:
		t.Fatal("the server hears all that a client says which reads nothing")
	case <-time.After(200 * time.Millisecond):
	}
	// The loop goes on meanwhile.
	f.greeted().say("QUIT", "221")
	// And what it was asked is answered, once it reads.
	for range group * groups {
		slow.expect("250")
	}
}

func TestClientThatNeverReadsIsDropped(t *testing.T) {
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
	f.await("dropped", func(s smtpd.Stats) bool { return s.Sessions == 0 })
	if err := f.server.Ping(t.Context()); err != nil { // the round in which it was dropped is over
		t.Error(err)
	}
	if n := f.server.Stats().Expired; n != 1 {
		t.Errorf("%d connections ended by a deadline, want 1", n)
	}
}

// TestHalfClose: a client that has closed its writing side gets all replies,
// and its mail is kept.
func TestHalfClose(t *testing.T) {
	for _, inside := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", inside), func(t *testing.T) {
			h := newHeld()
			f := start(t, func(s *setup) { s.save = h.save })
			c := f.greeted()
			if inside {
				c.startTLS()
				c.say("EHLO client.example", "250")
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
			f.await("closed", func(s smtpd.Stats) bool { return s.Sessions == 0 && s.Memory == 0 })
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
			t.Errorf("message %d changed while it was being saved: %.20q", i, got)
		}
	}
}

// TestResetDuringSave: the client is gone before the 250. Its message stands,
// what it held is given back.
func TestResetDuringSave(t *testing.T) {
	h := newHeld()
	f := start(t, func(s *setup) { s.save = h.save })
	c := f.greeted()
	c.begin()
	c.send("text\r\n.\r\n")
	e := <-h.envelopes
	c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
	f.await("descriptor given back", func(s smtpd.Stats) bool { return s.Sessions == 0 })
	if f.server.Stats().Memory == 0 {
		t.Fatal("the message's memory was given back while it is saved")
	}
	if got := string(e.Message()); got != "text\r\n" {
		t.Errorf("message is %q", got)
	}
	(<-h.dones)(nil)
	f.await("memory given back", func(s smtpd.Stats) bool { return s.Memory == 0 && s.Saved == 1 })
}

// TestPipelinedBehindSave: what comes while a message is being saved waits,
// in whatever amount, and is answered in order.
func TestPipelinedBehindSave(t *testing.T) {
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
		f.greeted().say("QUIT", "221") // the loop does not wait
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

// TestDoneAtOnce: a saver may call done before Save returns.
func TestDoneAtOnce(t *testing.T) {
	f := start(t, func(s *setup) {
		s.save = func(_ *envelope.Envelope, done func(error)) { done(nil) }
	})
	c := f.greeted()
	for range 3 {
		c.begin()
		c.say("text\r\n.", "250 2.0.0 OK: queued")
	}
}

func TestStoreFails(t *testing.T) {
	var err atomic.Pointer[error]
	down := errors.New("table is gone")
	err.Store(&down)
	f := start(t, func(s *setup) {
		s.save = func(_ *envelope.Envelope, done func(error)) { go done(*err.Load()) }
	})
	c := f.greeted()
	c.begin()
	c.say("text\r\n.", "451")
	up := error(nil)
	err.Store(&up)
	c.begin()
	c.say("text\r\n.", "250")
	if s := f.server.Stats(); s.Saved != 1 || s.NotSaved != 1 || s.Submitted != 2 {
		t.Errorf("counters %+v", s)
	}
}

// TestLastReplySurvives: the server hangs up on a client that is still
// sending, and the client can read why.
func TestLastReplySurvives(t *testing.T) {
	f := start(t, nil)
	for range 20 {
		c := f.greeted()
		// 20 errors end the session; the rest of the flood comes unread.
		c.send(strings.Repeat("WRONG\r\n", 20000))
		for range 20 {
			c.expect("500")
		}
		c.expect("421")
		c.expectEnd()
	}
	f.await("closed", func(s smtpd.Stats) bool { return s.Sessions == 0 })
}

// TestRepliesDuringWait: a client receives the replies that its socket did not take
// while its session waits for memory, for an answer about a recipient, or for a
// commit.
func TestRepliesDuringWait(t *testing.T) {
	const size = 1 << 20
	h, questions := newHeld(), make(asked, 1)
	f := start(t, func(s *setup) {
		s.save, s.settings.Recipients = h.save, askedAbout{questions, "ask@example.com"}
		s.settings.MaxSize, s.limits.Memory = size, 3*size/2
		s.loops, s.sendBuffer = 1, 4096
	})
	const mail, large = "MAIL FROM:<a@example.org>", " SIZE=1000000\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
	first := f.greeted()
	first.send(mail + large)
	first.expect("250")
	first.expect("250")
	first.expect("354") // it has the memory
	for _, tt := range []struct {
		commands string
		replies  int
		waits    func() (end func())
		reply    string
	}{
		{large, 2, func() func() {
			f.await("waits", func(s smtpd.Stats) bool { return s.Waiting == 1 })
			return func() { first.Close() }
		}, "354"},
		{"\r\nRCPT TO:<ask@example.com>\r\n", 1, func() func() {
			answer := <-questions
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
