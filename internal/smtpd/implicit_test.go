package smtpd_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/listen"
	"goguerrillad/internal/smtpd"
)

// startImplicit starts a server with another socket, on which a TLS handshake precedes the
// greeting. dial connects to it from an address, sends bytes in clear, and performs the
// handshake unless tls is false.
func startImplicit(t *testing.T, change func(*setup)) (f *fixture, dial func(from, first string, tls bool) *client) {
	f = start(t, change)
	sockets, err := listen.Bind([]string{"127.0.0.1:0", "smtps://127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	var listeners []smtpd.Listener
	for i, s := range sockets {
		t.Cleanup(func() { s.Close() })
		if s.TLS != (i == 1) {
			t.Errorf("socket %d: TLS is %v", i, s.TLS)
		}
		listeners = append(listeners, smtpd.Listener{FD: s.FD, TLS: s.TLS})
	}
	if err := f.server.Relisten(listeners); err != nil {
		t.Fatal(err)
	}
	f.addr = sockets[1].Addr.String()
	return f, func(from, first string, tls bool) *client {
		t.Helper()
		c := f.dialFrom(from)
		c.send(first)
		if tls {
			c.handshake()
		}
		return c
	}
}

// TestImplicitTLS: the greeting comes inside TLS, STARTTLS is not offered, and the message
// counts as received with TLS.
func TestImplicitTLS(t *testing.T) {
	stored := make(chan *envelope.Envelope, 1)
	f, dial := startImplicit(t, func(s *setup) {
		s.save = func(e *envelope.Envelope, done func(error)) { stored <- e; go done(nil) }
	})
	c := dial("127.0.0.1", "", true)
	c.expect("220")
	c.send("EHLO client.example\r\n")
	if caps := c.expect("250"); strings.Contains(caps, "STARTTLS") {
		t.Errorf("EHLO: %s", caps)
	}
	c.cmd("STARTTLS", "503")
	c.begin()
	c.cmd("text\r\n.", "250")
	if e := <-stored; e.Protocol != "ESMTPS" || !strings.HasPrefix(e.TLS, "TLS1.3 ") {
		t.Errorf("protocol %q, TLS %q", e.Protocol, e.TLS)
	}
	c.cmd("QUIT", "221")
	if _, err := io.ReadAll(c.in); err != nil { // nil only after a close_notify
		t.Errorf("the connection ended with %v", err)
	}
	if s := f.server.Stats(); s.TLS13 != 1 || s.TLSFailed != 0 {
		t.Errorf("%+v, want one handshake", s)
	}
}

// TestImplicitTLSBehindProxy: a PROXY header precedes the handshake, in one write with it or
// not. A peer that is not trusted needs none.
func TestImplicitTLSBehindProxy(t *testing.T) {
	_, dial := startImplicit(t, func(s *setup) {
		s.settings.Trusted = oneProxy{}
		s.limits.ProxyProtocol = true
	})
	for _, tt := range []struct{ from, header string }{
		{"127.0.0.1", headerV1}, {"127.0.0.1", headerLocal}, {"127.0.0.2", ""},
	} {
		for _, half := range []int{0, len(tt.header) / 2} {
			c := dial(tt.from, tt.header[:half], false)
			c.Conn = &prefixed{Conn: c.Conn, first: tt.header[half:]} // in one write with the ClientHello
			c.handshake()
			c.expect("220")
			c.cmd("EHLO client.example", "250")
			c.begin()
			c.cmd("text\r\n.", "250")
		}
	}
	dial("127.0.0.2", headerV1, false).expectEnd() // not trusted
}

// prefixed writes some bytes before the first ones.
type prefixed struct {
	net.Conn
	first string
}

func (p *prefixed) Write(b []byte) (int, error) {
	n := len(p.first)
	joined := append([]byte(p.first), b...)
	p.first = ""
	written, err := p.Conn.Write(joined)
	return max(0, written-n), err
}

// TestImplicitTLSClear: a client that speaks SMTP in clear, or nothing, loses its connection
// and harms no other client.
func TestImplicitTLSClear(t *testing.T) {
	f, dial := startImplicit(t, func(s *setup) { s.settings.Timeout = time.Second })
	other := dial("127.0.0.1", "", true)
	other.expect("220")
	silent := dial("127.0.0.1", "", false)
	half := dial("127.0.0.1", "\x16\x03\x01\x02\x00\x01", false)
	clear := dial("127.0.0.1", "EHLO client.example\r\n", false)
	if text, err := io.ReadAll(clear.in); strings.Contains(string(text), "250") {
		t.Errorf("the server replied %q, %v in clear", text, err)
	}
	other.cmd("NOOP", "250")
	for _, c := range []*client{silent, half} {
		if text, _ := io.ReadAll(c.in); strings.Contains(string(text), "220") {
			t.Errorf("the server sent %q in clear", text)
		}
	}
	f.await("the end of all sessions", func(s smtpd.Stats) bool { return s.Sessions == 0 && s.TLSFailed == 3 })
}

// TestImplicitTLSFull: above the maximum number of clients, the connection ends without a
// reply in clear.
func TestImplicitTLSFull(t *testing.T) {
	_, dial := startImplicit(t, func(s *setup) { s.limits.MaxClients = 1 })
	first := dial("127.0.0.1", "", true)
	first.expect("220")
	dial("127.0.0.1", "", false).expectEnd()
	first.cmd("NOOP", "250")
}

// TestImplicitTLSStops: a shutdown ends handshakes and gives 421 inside TLS. Without a
// certificate, after a reload, the connection ends.
func TestImplicitTLSStops(t *testing.T) {
	f, dial := startImplicit(t, nil)
	c := dial("127.0.0.1", "", true)
	c.expect("220")
	waiting := dial("127.0.0.1", "\x16\x03\x01", false)
	f.server.Reload(smtpd.Settings{MaxClients: 10, Memory: 64 << 20})
	dial("127.0.0.1", "", false).expectEnd()
	if err := f.shutdown(); err != nil {
		t.Error(err)
	}
	c.expect("421")
	if text, _ := io.ReadAll(waiting.in); strings.Contains(string(text), "421") {
		t.Errorf("the server sent %q in clear", text)
	}
}
