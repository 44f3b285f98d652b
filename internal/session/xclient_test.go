package session_test

import (
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
)

// trustedPeer matches one address.
type trustedPeer struct{ addr netip.Addr }

func (p trustedPeer) Match(addr netip.Addr) bool { return addr == p.addr }

// TestXClientEnvelope: the envelope and the log contain the client that a proxy reports.
func TestXClientEnvelope(t *testing.T) {
	for _, tt := range []struct {
		xclient, hello         string
		remote, helo, protocol string
		tls                    bool
	}{
		{"ADDR=198.51.100.9 NAME=x", "EHLO client.example", "198.51.100.9:0", "client.example", "ESMTP", false},
		{"ADDR=198.51.100.9 PORT=77", "HELO client.example", "198.51.100.9:77", "client.example", "SMTP", false},
		{"ADDR=IPV6:2001:db8::9 LOGIN=me", "EHLO client.example", "[2001:db8::9]:0", "client.example", "ESMTPA", false},
		{"ADDR=198.51.100.9 LOGIN=me", "EHLO client.example", "198.51.100.9:0", "client.example", "ESMTPSA", true},
		{"ADDR=198.51.100.9 LOGIN=[UNAVAILABLE] HELO=a.example PROTO=ESMTP", "", "198.51.100.9:0", "a.example", "ESMTP", false},
		{"ADDR=198.51.100.9 HELO=[UNAVAILABLE]", "", "198.51.100.9:0", "", "SMTP", false},
		{"LOGIN=me", "EHLO client.example", "192.0.2.7:4711", "client.example", "ESMTPA", false},
		{"ADDR=[UNAVAILABLE]", "EHLO client.example", "invalid AddrPort", "client.example", "ESMTP", false},
	} {
		settings := testSettings(t)
		settings.Trusted = trustedPeer{netip.MustParseAddr("192.0.2.7")}
		c := newClient(t, settings)
		var got envelope.Envelope
		c.store = func(e *envelope.Envelope) error { got = *e; return nil }
		if tt.tls {
			c.Write([]byte("STARTTLS\r\n"))
			c.s.TLSStarted("TLS1.3")
		}
		lines := []string{"EHLO proxy.example", "XCLIENT " + tt.xclient, tt.hello, "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA", "."}
		for _, line := range lines {
			if line != "" {
				c.Write([]byte(line + "\r\n"))
			}
		}
		if got.Remote.String() != tt.remote || got.Helo != tt.helo || got.Protocol != tt.protocol {
			t.Errorf("XCLIENT %s, %s: remote %v, helo %q, protocol %s, want %s, %q, %s; replies %q",
				tt.xclient, tt.hello, got.Remote, got.Helo, got.Protocol, tt.remote, tt.helo, tt.protocol, c.out)
		}
		login := ""
		if strings.Contains(tt.xclient, "LOGIN=me") {
			login = "me"
		}
		if got.Login != login || got.Proxy != "192.0.2.7" {
			t.Errorf("XCLIENT %s: login %q, proxy %q, want %q, 192.0.2.7", tt.xclient, got.Login, got.Proxy, login)
		}
		log := c.log.String()
		if !strings.Contains(log, "remote="+strings.Replace(tt.remote, "invalid AddrPort", "unknown", 1)) ||
			strings.Contains(tt.xclient, "ADDR=") != strings.Contains(log, "proxy=192.0.2.7:4711") || strings.Contains(tt.xclient, "LOGIN=me") != strings.Contains(log, "login=me") {
			t.Errorf("XCLIENT %s: log %s", tt.xclient, log)
		}
	}
}

// TestXClientUntrusted: XCLIENT of an untrusted peer is refused each time, logged once,
// and has no effect.
func TestXClientUntrusted(t *testing.T) {
	settings := testSettings(t)
	settings.Trusted = trustedPeer{netip.MustParseAddr("127.0.0.1")}
	c := newClient(t, settings)
	c.Write([]byte(strings.Repeat("XCLIENT ADDR=127.0.0.1\r\n", 50)))
	if n := strings.Count(string(c.out), "550 5.7.0"); n != 50 {
		t.Errorf("%d refusals, want 50: %s", n, c.out)
	}
	if log := c.log.String(); strings.Count(log, "XCLIENT refused") != 1 || !strings.Contains(log, "remote=192.0.2.7:4711") {
		t.Errorf("log %s", log)
	}
}

// TestXClientReload: XCLIENT uses the current trusted proxies.
func TestXClientReload(t *testing.T) {
	c := newClient(t, testSettings(t))
	c.Write([]byte("XCLIENT ADDR=198.51.100.9\r\n"))
	trusted := testSettings(t)
	trusted.Trusted, trusted.HostName = trustedPeer{netip.MustParseAddr("192.0.2.7")}, "new.example"
	c.settings = trusted
	c.out = nil
	c.Write([]byte("XCLIENT HELO=x\r\n"))
	if string(c.out) != "220 new.example ESMTP\r\n" {
		t.Errorf("trusted: reply %q, want the greeting", c.out)
	}
	c.settings = testSettings(t)
	c.out = nil
	c.Write([]byte("XCLIENT ADDR=198.51.100.9\r\n"))
	if !strings.HasPrefix(string(c.out), "550 ") {
		t.Errorf("no longer trusted: reply %q, want 550", c.out)
	}
}

// TestXClientAddressRefused: OnClientAddress can refuse the reported address.
func TestXClientAddressRefused(t *testing.T) {
	settings := testSettings(t)
	settings.Trusted = trustedPeer{netip.MustParseAddr("192.0.2.7")}
	c := newClient(t, settings)
	var reported netip.Addr
	c.s.OnClientAddress(func(addr netip.Addr) *smtp.Reply {
		reported = addr
		return &smtp.Reply{Code: 421, Enhanced: "4.3.2", Text: "Too many"}
	})
	c.out = nil
	c.Write([]byte("XCLIENT ADDR=198.51.100.9\r\n"))
	if string(c.out) != "421 4.3.2 Too many\r\n" || c.s.Request() != session.RequestClose || reported.String() != "198.51.100.9" {
		t.Errorf("reply %q, request %d, address %v", c.out, c.s.Request(), reported)
	}
}

// TestSetClient: the envelope contains the client that a PROXY header reports, XCLIENT
// cannot change the client, and EHLO offers no STARTTLS to a client that uses TLS to the proxy.
func TestSetClient(t *testing.T) {
	const tls = "TLS1.3 TLS_AES_128_GCM_SHA256"
	settings := testSettings(t)
	settings.Trusted = trustedPeer{netip.MustParseAddr("192.0.2.7")}
	c := newClient(t, settings)
	full := &smtp.Reply{Code: 421, Enhanced: "4.3.2", Text: "Too many"}
	for _, want := range []*smtp.Reply{full, nil} {
		c.s = session.New(c.environment, c.memory, "s1", netip.MustParseAddrPort("192.0.2.7:4711"))
		var reported netip.Addr
		c.s.OnClientAddress(func(addr netip.Addr) *smtp.Reply { reported = addr; return want })
		if got := c.s.SetClient(netip.MustParseAddrPort("198.51.100.9:77"), tls); got != want || reported.String() != "198.51.100.9" {
			t.Errorf("refusal %v, want %v, for address %v", got, want, reported)
		}
	}
	for _, word := range []string{"STARTTLS", "REQUIRETLS", "XCLIENT"} {
		if reply := c.send("EHLO client.example"); strings.Contains(reply, word) {
			t.Errorf("EHLO offers %s: %s", word, reply)
		}
	}
	c.expect("503 550 530", "STARTTLS", "XCLIENT ADDR=192.0.2.1", "MAIL FROM:<a@example.org> REQUIRETLS")
	c.expect("250 550 250 354 250", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>", "RCPT TO:<b@example.com>", "DATA", ".")
	for _, event := range []string{"message refused", "recipient refused", "message accepted"} {
		_, rest, _ := strings.Cut(c.log.String(), `msg="`+event+`" session=s1 remote=198.51.100.9:77 proxy=192.0.2.7:4711 helo=client.example `)
		if line, _, _ := strings.Cut(rest, "\n"); !strings.Contains(line, ` tls="`+tls+`"`) {
			t.Errorf("%s: log %s", event, c.log.String())
		}
	}
	if e := c.envelopes[0]; e.Remote.String() != "198.51.100.9:77" || e.TLS != tls || e.Protocol != "ESMTPS" || e.Proxy != "192.0.2.7" {
		t.Errorf("envelope with remote %v, TLS %q, protocol %s, proxy %q", e.Remote, e.TLS, e.Protocol, e.Proxy)
	}
	c.end()
}

// TestSessionsKeyword: EHLO reports the number of sessions only to a trusted peer.
func TestSessionsKeyword(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		settings := testSettings(t)
		if trusted {
			settings.Trusted = trustedPeer{netip.MustParseAddr("192.0.2.7")}
		}
		c := newClient(t, settings)
		c.environment.Sessions = func() int64 { return 17 }
		reply := c.send("EHLO proxy.example")
		if found := strings.Contains(reply, session.SessionsKeyword+" 17\r\n"); found != trusted || strings.Contains(reply, session.SessionsKeyword) != trusted {
			t.Errorf("trusted %v: reply %q", trusted, reply)
		}
		c.end()
	}
}

// TestLongName: a name in EHLO is cut at a character, to at most 255 bytes.
func TestLongName(t *testing.T) {
	for n := range 300 {
		for _, char := range []string{"a", "\u00e9", "\u20ac", "\U0001f600"} {
			c := newClient(t, testSettings(t))
			c.send("EHLO "+strings.Repeat("x", n)+strings.Repeat(char, 200), "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA", ".")
			want := strings.Repeat("x", n) + strings.Repeat(char, 200)
			for len(want) > 255 {
				_, size := utf8.DecodeLastRuneInString(want)
				want = want[:len(want)-size]
			}
			if got := c.envelopes[0].Helo; got != want {
				t.Fatalf("%d bytes and 200 times %q: %d bytes are kept, want %d", n, char, len(got), len(want))
			}
			c.end()
		}
	}
}
