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

// memory is a session.Memory that records its buffers and can deny memory.
type memory struct {
	t     testing.TB
	held  map[*byte]int // capacity of each buffer that the session holds
	grows int           // calls of Grow
	deny  func(call, n int) bool
	most  int // largest requested capacity
}

func (m *memory) Grow(buf []byte, n int) ([]byte, bool) {
	m.grows++
	if n <= cap(buf) || n <= 0 {
		m.t.Errorf("Grow of a buffer from capacity %d to %d", cap(buf), n)
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
		m.t.Errorf("Release of a buffer that the session does not hold")
	}
	delete(m.held, key)
	clear(buf[:cap(buf)]) // another session may use it now
}

// client drives a session, and is the connection of a dialogue with it.
type client struct {
	t           testing.TB
	s           *session.Session
	environment *session.Environment
	memory      *memory
	settings    *session.Settings
	now         time.Time
	log         test.Log

	sizes           func() int // bytes of the next read, at least 1; nil: all bytes
	feedOnly        bool       // Space is not used
	store           func(*envelope.Envelope) error
	memoryAvailable func() bool // completes RequestMemory; nil: false

	wire, kept []byte // not read yet; read and not consumed
	feedKept   bool   // kept must be fed before the next read
	out        []byte
	eof        bool // the client has stopped writing
	stored     []dialogue.Message
	envelopes  []envelope.Envelope
	hashes     int
}

func newClient(t testing.TB, settings *session.Settings) *client {
	c := &client{t: t, settings: settings, now: time.Now()}
	c.memory = &memory{t: t, held: map[*byte]int{}}
	c.environment = &session.Environment{
		Settings: func() *session.Settings { return c.settings },
		Now:      func() time.Time { return c.now },
		NewHash:  func() string { c.hashes++; return fmt.Sprintf("%032x", c.hashes) },
		Log:      slog.New(slog.NewTextHandler(&c.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	c.s = session.New(c.environment, c.memory, "s1", netip.MustParseAddrPort("192.0.2.7:4711"))
	c.out = c.s.Greet(nil)
	return c
}

// testSettings returns the default settings of dialogues.
func testSettings(t testing.TB) *session.Settings {
	t.Helper()
	s, err := dialogue.Parse("settings", "")
	if err != nil {
		t.Fatal(err)
	}
	return s.Settings.Session()
}

// Write sends to the session, and drives it until it waits for input.
func (c *client) Write(b []byte) (int, error) {
	if c.s.Request() == session.RequestClose {
		return 0, io.ErrClosedPipe
	}
	c.wire = append(c.wire, b...)
	c.pump()
	return len(b), nil
}

// Read returns replies. It fails if the session has not replied.
func (c *client) Read(b []byte) (int, error) {
	if len(c.out) == 0 {
		if c.s.Request() == session.RequestClose || c.eof {
			return 0, io.EOF
		}
		return 0, errors.New("no reply")
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
		switch c.s.Request() {
		case session.RequestClose:
			if len(c.memory.held) != 0 {
				c.t.Error("the session requests close and holds memory")
			}
			return
		case session.RequestStartTLS:
			c.wire, c.kept = nil, nil
			return
		case session.RequestSave:
			c.out = c.s.Saved(c.save(c.s.Envelope()), c.out)
			c.feedKept = true
			continue
		case session.RequestRecipient:
			answer := make(chan *smtp.Reply)
			c.s.Check(func(refusal *smtp.Reply) { answer <- refusal })
			c.out = c.s.Checked(<-answer, c.out)
			c.feedKept = true
			continue
		case session.RequestMemory:
			c.out = c.s.MemoryAvailable(c.memoryAvailable != nil && c.memoryAvailable(), c.out)
			c.feedKept = true
			continue
		}
		if len(c.kept) > 0 && c.feedKept {
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
	progress := c.s.Progress()
	var used int
	used, c.out = c.s.Feed(c.kept, c.out)
	if used == 0 && c.s.Progress() != progress {
		c.t.Errorf("Feed makes progress without consuming a byte")
	}
	c.kept, c.feedKept = c.kept[used:], false
	if c.s.Request() == session.RequestInput && len(c.kept) > session.MaxLine {
		c.t.Errorf("Feed leaves %d bytes, want at most %d", len(c.kept), session.MaxLine)
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
		c.wire, c.feedKept = c.wire[n:], true
		return
	}
	n = copy(space, c.wire[:n])
	c.wire = c.wire[n:]
	var rest []byte
	rest, c.out = c.s.Filled(n, c.out)
	c.kept, c.feedKept = slices.Clone(rest), true
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

// send sends lines with CR LF and returns the replies.
func (c *client) send(lines ...string) string {
	var b []byte
	for _, line := range lines {
		b = append(b, line+"\r\n"...)
	}
	return c.sendRaw(string(b))
}

// sendRaw sends text as it is and returns the replies.
func (c *client) sendRaw(text string) string {
	c.out = nil
	if _, err := c.Write([]byte(text)); err != nil {
		c.t.Helper()
		c.t.Fatalf("the session has requested close before %.100q", text)
	}
	replies := string(c.out)
	c.out = nil
	return replies
}

// expect sends lines and checks the codes of the replies.
func (c *client) expect(codes string, lines ...string) {
	c.t.Helper()
	if got := codesOf(c.send(lines...)); got != codes {
		c.t.Fatalf("%.200q: replies %q, want %q", lines, got, codes)
	}
}

// codesOf returns the codes of replies: "250 354".
func codesOf(replies string) string {
	var codes []byte
	for line := range bytes.Lines([]byte(replies)) {
		if len(line) > 3 && line[3] == ' ' {
			codes = append(append(codes, line[:3]...), ' ')
		}
	}
	return string(bytes.TrimSuffix(codes, []byte(" ")))
}

// end closes the connection and checks that the session holds no memory.
func (c *client) end() {
	c.t.Helper()
	c.s.Abort()
	if len(c.memory.held) != 0 {
		c.t.Errorf("the session holds %d buffers after the end", len(c.memory.held))
	}
}
