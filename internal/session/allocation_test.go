package session_test

import (
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"goguerrillad/internal/session"
)

// sender sends messages, command by command. It allocates no memory itself.
type sender struct {
	t           testing.TB
	environment *session.Environment
	buf         []byte
	in          []byte
	out         []byte
	text        string
}

func newSender(t testing.TB) *sender {
	settings := testSettings(t)
	m := &sender{t: t, in: make([]byte, 0, 8192), out: make([]byte, 0, 8192), text: strings.Repeat("0123456789012345678\r\n", 250) + ".\r\n"}
	m.buf = make([]byte, 0, 1<<17)
	m.environment = &session.Environment{
		Settings: func() *session.Settings { return settings },
		Now:      time.Now,
		NewHash:  func() string { return "0123456789abcdef0123456789abcdef" },
		Log:      slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	return m
}

func (m *sender) Grow(buf []byte, n int) ([]byte, bool) {
	if n > cap(m.buf) {
		return buf, false
	}
	return m.buf[:len(buf)], true
}

func (m *sender) Release([]byte) {}

func (m *sender) message() {
	s := session.New(m.environment, m, "id", netip.AddrPortFrom(netip.IPv4Unspecified(), 1))
	m.out = s.Greet(m.out[:0])
	for _, line := range [...]string{"HELO client.example.org\r\n", "MAIL FROM:<a@example.org>\r\n", "RCPT TO:<b@example.com>\r\n", "DATA\r\n"} {
		m.feed(s, line)
	}
	n := copy(s.Space(), m.text)
	if _, m.out = s.Filled(n, m.out[:0]); s.Request() != session.RequestSave {
		m.t.Fatal("the session does not request a Save")
	}
	m.out = s.Saved(nil, m.out[:0])
	m.feed(s, "QUIT\r\n")
	s.Abort()
}

func (m *sender) feed(s *session.Session, line string) {
	m.in = append(m.in[:0], line...)
	var used int
	if used, m.out = s.Feed(m.in, m.out[:0]); used != len(line) || len(m.out) == 0 || m.out[0] > '3' {
		m.t.Fatalf("%q: reply %q", line, m.out)
	}
}

// TestSessionSize bounds the memory of idle sessions.
func TestSessionSize(t *testing.T) {
	if size := unsafe.Sizeof(session.Session{}); size > 288 {
		t.Errorf("a session has %d bytes, want at most 288", size)
	}
}

// TestAllocations: a usual message costs the allocations of a session, an envelope and
// the strings of the envelope.
func TestAllocations(t *testing.T) {
	c := newSender(t)
	if n := testing.AllocsPerRun(100, c.message); n > 10 {
		t.Errorf("a message costs %v allocations, want at most 10", n)
	}
}

// TestTextDoesNotAllocate: neither text nor NOOP costs an allocation.
func TestTextDoesNotAllocate(t *testing.T) {
	text := strings.Repeat("a line of the text\r\n..with a dot\r\n", 20)
	for name, begin := range map[string]string{"DATA": "DATA\r\n", "BDAT": "BDAT 90000\r\n"} {
		c := newSender(t)
		s := session.New(c.environment, c, "id", netip.AddrPortFrom(netip.IPv4Unspecified(), 1))
		c.out = s.Greet(c.out[:0])
		for _, line := range []string{"EHLO client.example.org\r\n", "MAIL FROM:<a@example.org>\r\n", "RCPT TO:<b@example.com>\r\n"} {
			c.feed(s, line)
		}
		if n := testing.AllocsPerRun(100, func() { c.feed(s, "NOOP\r\n") }); n > 0 {
			t.Errorf("NOOP costs %v allocations, want 0", n)
		}
		if _, c.out = s.Feed([]byte(begin), c.out[:0]); s.Space() == nil {
			t.Fatalf("%q: replies %q, and no Space", begin, c.out)
		}
		in := []byte(text)
		if n := testing.AllocsPerRun(50, func() { s.Feed(in, c.out[:0]) }); n > 0 {
			t.Errorf("%d bytes of text after %s cost %v allocations in Feed, want 0", len(in), name, n)
		}
		if n := testing.AllocsPerRun(50, func() { s.Filled(copy(s.Space(), in), c.out[:0]) }); n > 0 {
			t.Errorf("%d bytes of text after %s cost %v allocations in Filled, want 0", len(in), name, n)
		}
	}
}

func BenchmarkMessage(b *testing.B) {
	c := newSender(b)
	b.ReportAllocs()
	for b.Loop() {
		c.message()
	}
}
