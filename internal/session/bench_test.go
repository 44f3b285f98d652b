package session_test

import (
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/session"
)

// mailer sends one mail after the other, command by command, and costs
// nothing itself.
type mailer struct {
	t     testing.TB
	world *session.World
	buf   []byte
	free  bool
	in    []byte
	out   []byte
	text  string
}

func newMail(t testing.TB) *mailer {
	settings := usual(t)
	m := &mailer{t: t, in: make([]byte, 0, 8192), out: make([]byte, 0, 8192), text: strings.Repeat("0123456789012345678\r\n", 250) + ".\r\n"}
	m.buf, m.free = make([]byte, 0, 1<<17), true
	m.world = &session.World{
		Settings: func() *session.Settings { return settings },
		Now:      time.Now,
		NewHash:  func() string { return "0123456789abcdef0123456789abcdef" },
		Log:      slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	return m
}

func (m *mailer) Grow(buf []byte, n int) ([]byte, bool) {
	if n > cap(m.buf) {
		return buf, false
	}
	return m.buf[:len(buf)], true
}

func (m *mailer) Release([]byte) {}

func (m *mailer) mail() {
	s := session.New(m.world, m, "id", netip.AddrPortFrom(netip.IPv4Unspecified(), 1))
	m.out = s.Greet(m.out[:0])
	for _, line := range [...]string{"HELO client.example.org\r\n", "MAIL FROM:<a@example.org>\r\n", "RCPT TO:<b@example.com>\r\n", "DATA\r\n"} {
		m.feed(s, line)
	}
	n := copy(s.Space(), m.text)
	if _, m.out = s.Filled(n, m.out[:0]); s.Wish() != session.WishSave {
		m.t.Fatal("no message")
	}
	m.out = s.Saved(nil, m.out[:0])
	m.feed(s, "QUIT\r\n")
	s.Abort()
}

func (m *mailer) feed(s *session.Session, line string) {
	m.in = append(m.in[:0], line...)
	var used int
	if used, m.out = s.Feed(m.in, m.out[:0]); used != len(line) || len(m.out) == 0 || m.out[0] > '3' {
		m.t.Fatalf("%q is answered %q", line, m.out)
	}
}
