package smtpd_test

import (
	"net/netip"
	"strings"
	"testing"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/smtp"
	"goguerrillad/internal/smtpd"
)

// oneProxy trusts only 127.0.0.1.
type oneProxy struct{}

func (oneProxy) Match(addr netip.Addr) bool { return addr == netip.MustParseAddr("127.0.0.1") }

const (
	headerV1    = "PROXY TCP4 192.0.2.1 192.0.2.99 4711 25\r\n"
	headerLocal = smtp.LocalProxyHeader
	headerMark  = "\r\n\r\n\x00\r\nQUIT\n"
	// From 192.0.2.1:4711, with PP2_TYPE_SSL of TLSv1.3 and a cipher suite.
	headerTLS = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x35\xc0\x00\x02\x01\xc0\x00\x02\x63\x12\x67\x00\x19" +
		"\x20\x00\x26\x01\x00\x00\x00\x00\x21\x00\x07TLSv1.3\x23\x00\x14TLS_AES_128_GCM_SHA2"
)

// startWithHeaders starts a server that requires PROXY headers. dial connects from
// an address and sends the first bytes.
func startWithHeaders(t *testing.T, change func(*setup)) (f *fixture, dial func(addr, first string) *client) {
	f = start(t, func(s *setup) {
		s.settings.Trusted = oneProxy{}
		s.limits.ProxyProtocol = true
		if change != nil {
			change(s)
		}
	})
	return f, func(addr, first string) *client {
		t.Helper()
		c := f.dialFrom(addr)
		c.send(first)
		return c
	}
}

// TestProxyHeader: the envelope has the client address and the TLS that a trusted
// proxy reports, and no input after the header changes that.
func TestProxyHeader(t *testing.T) {
	stored := make(chan envelope.Envelope, 1)
	f, dial := startWithHeaders(t, func(s *setup) {
		s.save = func(e *envelope.Envelope, done func(error)) {
			stored <- *e
			go done(nil)
		}
	})
	for _, tt := range []struct{ header, remote, protocol, tls string }{
		{headerV1, "192.0.2.1:4711", "ESMTP", ""},
		{"PROXY UNKNOWN\r\n", "invalid AddrPort", "ESMTP", ""},
		{headerTLS, "192.0.2.1:4711", "ESMTPS", "TLS1.3 TLS_AES_128_GCM_SHA2"},
		{headerMark + "\x21\x00\x00\x00", "invalid AddrPort", "ESMTP", ""},
		{headerMark + "\x21\x00\x00\x0cNOOP\r\nNOOP\r\n", "invalid AddrPort", "ESMTP", ""},
	} {
		for _, half := range []int{0, 1, len(tt.header) - 1} {
			c := dial("127.0.0.1", tt.header[:half])
			c.send(tt.header[half:] + "EHLO client.example\r\n") // in one write, as clients do that do not wait for the greeting
			c.expect("220")
			if caps := c.expect("250"); strings.Contains(caps, "STARTTLS") != (tt.tls == "") || strings.Contains(caps, "XCLIENT") {
				t.Errorf("%q: the last line of the EHLO reply is %s", tt.header, caps)
			}
			c.cmd("XCLIENT ADDR=192.0.2.66", "550")
			c.cmd(strings.TrimSuffix(headerV1, "\r\n"), "500") // a second header is an unknown command
			c.begin()
			c.cmd("text\r\n.", "250")
			e := <-stored
			for _, field := range []struct{ name, got, want string }{
				{"Remote", e.Remote.String(), tt.remote},
				{"Protocol", e.Protocol, tt.protocol},
				{"TLS", e.TLS, tt.tls},
			} {
				if field.got != field.want {
					t.Errorf("%q: %s is %q, want %q", tt.header, field.name, field.got, field.want)
				}
			}
			c.cmd("QUIT", "221")
		}
	}
	// A health check of the proxy itself: addresses in the header are ignored, and
	// not taken for commands.
	var c *client
	for _, header := range []string{
		headerLocal,
		headerMark + "\x20\x00\x00\x0cNOOP\r\nNOOP\r\n",
		headerMark + "\x20\x11\x00\x04NOOP",
		headerMark + "\x20" + headerTLS[13:],
		headerMark + "\x20\xff\xff\xff" + strings.Repeat("x", 1<<16-1),
	} {
		c = dial("127.0.0.1", header)
		c.expect("220")
		if caps := c.cmd("EHLO proxy", "250"); !strings.Contains(caps, "XCLIENT") {
			t.Errorf("%.20q: the last line of the EHLO reply is %s, want XCLIENT", header, caps)
		}
	}
	// Each line of a second header of version 2 is a syntax error, also QUIT.
	c.send(headerLocal + "\r\n")
	c.expect("500")
	c.expect("500")
	c.expect("500")
	if log := f.log.String(); strings.Contains(log, "header refused") {
		t.Errorf("the log has a refused header:\n%s", log)
	}
}

// TestProxyHeaderRefused: a peer that violates the protocol receives no byte.
func TestProxyHeaderRefused(t *testing.T) {
	f, dial := startWithHeaders(t, nil)
	for _, tt := range []struct{ addr, first string }{
		{"127.0.0.1", "EHLO client.example\r\n"},
		{"127.0.0.1", "PROXY TCP4 192.0.2.1\x00 192.0.2.99 4711 25\r\n"},
		{"127.0.0.1", "PROXY " + strings.Repeat("x", 300)},
		{"127.0.0.1", headerMark + "\x21\x11\xff\xff"}, // and no more bytes for 5 s
		{"127.0.0.1", headerMark + "\x22\x11\xff\xff"},
		{"127.0.0.1", ""},
		{"127.0.0.1", headerV1[:20]},
		{"127.0.0.2", headerV1},
		{"127.0.0.2", headerTLS},
		{"127.0.0.2", headerLocal},
	} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			dial(tt.addr, tt.first).expectEnd()
		})
	}
	t.Cleanup(func() {
		f.await("close of 10 connections", func(s smtpd.Stats) bool { return s.Sessions == 0 && s.RefusedHeaders == 10 })
		if n := strings.Count(f.log.String(), "PROXY header refused"); n != 10 {
			t.Errorf("%d refused headers are logged, want 10:\n%s", n, f.log.String())
		}
	})
}

// TestProxyUntrustedPeer: a peer that is not a trusted proxy is a normal client.
func TestProxyUntrustedPeer(t *testing.T) {
	_, dial := startWithHeaders(t, nil)
	c := dial("127.0.0.2", "")
	c.expect("220")
	c.cmd("EHLO x", "250")
	c.cmd("PROXY TCP4 192.0.2.1 192.0.2.99 4711 25", "500")
	early := dial("127.0.0.2", "EHLO x\r\nQUIT\r\n")
	early.expect("220")
	early.expect("250")
	early.expect("221")
}

// TestProxyHeaderLimit: MaxClientsPerIP applies to the client address in the
// header.
func TestProxyHeaderLimit(t *testing.T) {
	_, dial := startWithHeaders(t, func(s *setup) { s.limits.MaxClientsPerIP = 1 })
	dial("127.0.0.1", headerV1).expect("220")
	refused := dial("127.0.0.1", headerV1)
	refused.expect("421 4.3.2")
	refused.expectEnd()
	dial("127.0.0.1", strings.Replace(headerV1, "192.0.2.1", "192.0.2.2", 1)).expect("220")
}
