package session_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/dialogue"
)

// memory is a budget that a test looks into.
type memory struct {
	t     testing.TB
	held  map[*byte]int // capacity of each buffer that is out
	grows int           // calls of Grow
	deny  func(call, n int) bool
	most  int // the largest buffer asked for
}

func (m *memory) Grow(buf []byte, n int) ([]byte, bool) {
	m.grows++
	if n <= cap(buf) || n <= 0 {
		m.t.Errorf("Grow of a buffer of %d to %d", cap(buf), n)
	}
	m.most = max(m.most, n)
	if m.deny != nil && m.deny(m.grows, n) {
		return buf, false
	}
	grown := append(make([]byte, 0, n), buf...)
	m.Release(buf)
	m.held[&grown[:1][0]] = n
	return grown, true
}

func (m *memory) Release(buf []byte) {
	if buf == nil {
		return
	}
	key := &buf[:1][0]
	if m.held[key] != cap(buf) {
		m.t.Errorf("Release of a buffer that is not out")
	}
	delete(m.held, key)
	clear(buf[:cap(buf)]) // another session has it now
}

// client is both ends in one: a driver of the session, and the connection
// that a dialogue is held over.
type client struct {
	t        testing.TB
	s        *session.Session
	world    *session.World
	memory   *memory
	settings *session.Settings
	now      time.Time
	log      test.Log

	sizes    func() int // bytes of the next read, at least 1; nil: all there are
	feedOnly bool       // Space is not used
	store    func(*envelope.Envelope) error
	room     func() bool // answers WishRoom

	wire, kept []byte // on the way, read and not consumed
	fresh      bool   // kept is to be fed
	out        []byte
	eof        bool // the client has stopped writing
	stored     []dialogue.Message
	envelopes  []envelope.Envelope
	hashes     int
}

func newClient(t testing.TB, settings *session.Settings) *client {
	c := &client{t: t, settings: settings, now: time.Now()}
	c.memory = &memory{t: t, held: map[*byte]int{}}
	c.world = &session.World{
		Settings: func() *session.Settings { return c.settings },
		Now:      func() time.Time { return c.now },
		NewHash:  func() string { c.hashes++; return fmt.Sprintf("%032x", c.hashes) },
		Log:      slog.New(slog.NewTextHandler(&c.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	c.s = session.New(c.world, c.memory, "s1", netip.MustParseAddrPort("192.0.2.7:4711"))
	c.out = c.s.Greet(nil)
	return c
}

// usual returns the settings that scripts have.
func usual(t testing.TB) *session.Settings {
	t.Helper()
	s, err := dialogue.Parse("usual", "")
	if err != nil {
		t.Fatal(err)
	}
	return s.Settings.Session()
}

// Write sends to the session, and has it do all that it can.
func (c *client) Write(b []byte) (int, error) {
	if c.s.Wish() == session.WishClose {
		return 0, io.ErrClosedPipe
	}
	c.wire = append(c.wire, b...)
	c.pump()
	return len(b), nil
}

// Read returns replies. A session that has none to give is stuck.
func (c *client) Read(b []byte) (int, error) {
	if len(c.out) == 0 {
		if c.s.Wish() == session.WishClose || c.eof {
			return 0, io.EOF
		}
		return 0, errors.New("the session waits")
	}
	n := copy(b, c.out)
	c.out = c.out[n:]
	return n, nil
}

func (c *client) CloseWrite() error {
	c.eof = true
	return nil
}

func (c *client) pump() {
	for {
		switch c.s.Wish() {
		case session.WishClose:
			if len(c.memory.held) != 0 {
				c.t.Error("a session that closes holds memory")
			}
			return
		case session.WishStartTLS:
			c.wire, c.kept = nil, nil
			return
		case session.WishSave:
			c.out = c.s.Saved(c.save(c.s.Envelope()), c.out)
			c.fresh = true
			continue
		case session.WishRecipient:
			answer := make(chan *smtp.Reply)
			c.s.Check(func(refusal *smtp.Reply) { answer <- refusal })
			c.out = c.s.Checked(<-answer, c.out)
			c.fresh = true
			continue
		case session.WishRoom:
			c.out = c.s.Room(c.room != nil && c.room(), c.out)
			c.fresh = true
			continue
		}
		if len(c.kept) > 0 && c.fresh {
			c.feed()
			continue
		}
		if len(c.wire) == 0 {
			return
		}
		c.read()
	}
}

func (c *client) feed() {
	turns := c.s.Turns()
	var used int
	used, c.out = c.s.Feed(c.kept, c.out)
	if used == 0 && c.s.Turns() != turns {
		c.t.Errorf("a turn without a byte")
	}
	c.kept, c.fresh = c.kept[used:], false
	if c.s.Wish() == session.WishInput && len(c.kept) > session.MaxLine {
		c.t.Errorf("Feed leaves %d bytes", len(c.kept))
	}
}

func (c *client) read() {
	n := len(c.wire)
	if c.sizes != nil {
		n = min(n, c.sizes())
	}
	space := c.s.Space()
	if space != nil && len(space) == 0 {
		c.t.Fatal("Space is empty")
	}
	if space == nil || len(c.kept) > 0 || c.feedOnly {
		c.kept = append(slices.Clone(c.kept), c.wire[:n]...)
		c.wire, c.fresh = c.wire[n:], true
		return
	}
	n = copy(space, c.wire[:n])
	c.wire = c.wire[n:]
	var rest []byte
	rest, c.out = c.s.Filled(n, c.out)
	c.kept, c.fresh = slices.Clone(rest), true
}

func (c *client) save(e *envelope.Envelope) error {
	if c.store != nil {
		if err := c.store(e); err != nil {
			return err
		}
	}
	m := dialogue.Message{From: e.From, Text: slices.Clone(e.Message())}
	for _, to := range e.To {
		m.To = append(m.To, to.Address)
	}
	c.stored = append(c.stored, m)
	c.envelopes = append(c.envelopes, *e)
	return nil
}

// say sends lines with CR LF and returns what is answered.
func (c *client) say(lines ...string) string {
	var b []byte
	for _, line := range lines {
		b = append(b, line+"\r\n"...)
	}
	return c.sayRaw(string(b))
}

func (c *client) sayRaw(text string) string {
	c.out = nil
	if _, err := c.Write([]byte(text)); err != nil {
		c.t.Helper()
		c.t.Fatalf("the session has ended before %.100q", text)
	}
	answer := string(c.out)
	c.out = nil
	return answer
}

// expect says lines and holds the answer's codes against what they should be.
func (c *client) expect(codes string, lines ...string) {
	c.t.Helper()
	if got := codesOf(c.say(lines...)); got != codes {
		c.t.Fatalf("%.200q is answered %q, want %q", lines, got, codes)
	}
}

// codesOf returns the codes of replies: "250 354".
func codesOf(answer string) string {
	var codes []byte
	for line := range bytes.Lines([]byte(answer)) {
		if len(line) > 3 && line[3] == ' ' {
			codes = append(append(codes, line[:3]...), ' ')
		}
	}
	return string(bytes.TrimSuffix(codes, []byte(" ")))
}

// end closes the connection and looks for what the session still holds.
func (c *client) end() {
	c.t.Helper()
	c.s.Abort()
	if len(c.memory.held) != 0 {
		c.t.Errorf("%d buffers are held at the end", len(c.memory.held))
	}
}
