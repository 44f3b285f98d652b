package smtpd_test

import (
	"net/netip"
	"strings"
	"testing"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/smtp"
	"goguerrillad/internal/smtpd"
)

// oneProxy trusts 127.0.0.1 alone.
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

// behindProxy is a server that wants PROXY headers, and what dials it from an
// address and speaks first.
func behindProxy(t *testing.T, change func(*setup)) (f *fixture, from func(addr, first string) *client) {
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

// TestProxyHeader: the client that a trusted proxy names is the one of the
// envelope, with its TLS; nothing that comes behind the header changes that.
func TestProxyHeader(t *testing.T) {
	stored := make(chan envelope.Envelope, 1)
	f, from := behindProxy(t, func(s *setup) {
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
			c := from("127.0.0.1", tt.header[:half])
			c.send(tt.header[half:] + "EHLO client.example\r\n") // behind it at once, as clients do that do not wait
			c.expect("220")
			if caps := c.expect("250"); strings.Contains(caps, "STARTTLS") != (tt.tls == "") || strings.Contains(caps, "XCLIENT") {
				t.Errorf("%q: offers %s", tt.header, caps)
			}
			c.say("XCLIENT ADDR=192.0.2.66", "550")
			c.say(strings.TrimSuffix(headerV1, "\r\n"), "500") // a second header is no command
			c.begin()
			c.say("text\r\n.", "250")
			if e := <-stored; e.Remote.String() != tt.remote || e.Protocol != tt.protocol || e.TLS != tt.tls {
				t.Errorf("%q: remote %v, protocol %s, TLS %q", tt.header, e.Remote, e.Protocol, e.TLS)
			}
			c.say("QUIT", "221")
		}
	}
	// The proxy itself, to see whether we are well. What it says of a client
	// does not count, and is not taken for commands.
	var c *client
	for _, header := range []string{
		headerLocal,
		headerMark + "\x20\x00\x00\x0cNOOP\r\nNOOP\r\n",
		headerMark + "\x20\x11\x00\x04NOOP",
		headerMark + "\x20" + headerTLS[13:],
		headerMark + "\x20\xff\xff\xff" + strings.Repeat("x", 1<<16-1),
	} {
		c = from("127.0.0.1", header)
		c.expect("220")
		if caps := c.say("EHLO proxy", "250"); !strings.Contains(caps, "XCLIENT") {
			t.Errorf("to the proxy itself: %s", caps)
		}
	}
	// A second header of version 2 is syntax errors, its QUIT among them.
	c.send(headerLocal + "\r\n")
	c.expect("500")
	c.expect("500")
	c.expect("500")
	if log := f.log.String(); strings.Contains(log, "header refused") {
		t.Errorf("the log says %s", log)
	}
}

// TestProxyHeaderRefused: who does not keep to the protocol gets not one byte.
func TestProxyHeaderRefused(t *testing.T) {
	f, from := behindProxy(t, nil)
	for _, tt := range []struct{ addr, first string }{
		{"127.0.0.1", "EHLO client.example\r\n"},
		{"127.0.0.1", "PROXY TCP4 192.0.2.1\x00 192.0.2.99 4711 25\r\n"},
		{"127.0.0.1", "PROXY " + strings.Repeat("x", 300)},
		{"127.0.0.1", headerMark + "\x21\x11\xff\xff"}, // sends no more for 5 s
		{"127.0.0.1", headerMark + "\x22\x11\xff\xff"},
		{"127.0.0.1", ""},
		{"127.0.0.1", headerV1[:20]},
		{"127.0.0.2", headerV1},
		{"127.0.0.2", headerTLS},
		{"127.0.0.2", headerLocal},
	} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			from(tt.addr, tt.first).expectEnd()
		})
	}
	t.Cleanup(func() {
		f.await("closed", func(s smtpd.Stats) bool { return s.Sessions == 0 && s.RefusedHeaders == 10 })
		if n := strings.Count(f.log.String(), "PROXY header refused"); n != 10 {
			t.Errorf("logged %d times:\n%s", n, f.log.String())
		}
	})
}

// TestProxyStrangers: a peer that is no proxy is a client like any other.
func TestProxyStrangers(t *testing.T) {
	_, from := behindProxy(t, nil)
	c := from("127.0.0.2", "")
	c.expect("220")
	c.say("EHLO x", "250")
	c.say("PROXY TCP4 192.0.2.1 192.0.2.99 4711 25", "500")
	early := from("127.0.0.2", "EHLO x\r\nQUIT\r\n")
	early.expect("220")
	early.expect("250")
	early.expect("221")
}

// TestProxyHeaderCounts: the limit is that of the client's address.
func TestProxyHeaderCounts(t *testing.T) {
	_, from := behindProxy(t, func(s *setup) { s.limits.MaxClientsPerIP = 1 })
	from("127.0.0.1", headerV1).expect("220")
	refused := from("127.0.0.1", headerV1)
	refused.expect("421 4.3.2")
	refused.expectEnd()
	from("127.0.0.1", strings.Replace(headerV1, "192.0.2.1", "192.0.2.2", 1)).expect("220")
}
