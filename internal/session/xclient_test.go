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

// trusting matches one address.
type trusting struct{ addr netip.Addr }

func (t trusting) Match(addr netip.Addr) bool { return addr == t.addr }

// TestXClientEnvelope: what a proxy has said is in the envelope and the log.
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
		{"ADDR=[UNAVAILABLE]", "EHLO client.example", "invalid AddrPort", "client.example", "ESMTP", false},
	} {
		settings := usual(t)
		settings.Trusted = trusting{netip.MustParseAddr("192.0.2.7")}
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
			t.Errorf("%s, %s: remote %v, helo %q, protocol %s\n%s", tt.xclient, tt.hello, got.Remote, got.Helo, got.Protocol, c.out)
		}
		log := c.log.String()
		if !strings.Contains(log, "remote="+strings.Replace(tt.remote, "invalid AddrPort", "unknown", 1)) ||
			!strings.Contains(log, "proxy=192.0.2.7:4711") || strings.Contains(tt.xclient, "LOGIN=me") != strings.Contains(log, "login=me") {
			t.Errorf("%s: the log says %s", tt.xclient, log)
		}
	}
}

// TestXClientForged: who is not trusted is refused however often it tries, and
// the log hears of it once; the address that it claims changes nothing.
func TestXClientForged(t *testing.T) {
	settings := usual(t)
	settings.Trusted = trusting{netip.MustParseAddr("127.0.0.1")}
	c := newClient(t, settings)
	c.Write([]byte(strings.Repeat("XCLIENT ADDR=127.0.0.1\r\n", 50)))
	if n := strings.Count(string(c.out), "550 5.7.0"); n != 50 {
		t.Errorf("%d refusals: %s", n, c.out)
	}
	if log := c.log.String(); strings.Count(log, "XCLIENT refused") != 1 || !strings.Contains(log, "remote=192.0.2.7:4711") {
		t.Errorf("the log says %s", log)
	}
}

// TestXClientReload: the list of now counts, not that of the connection.
func TestXClientReload(t *testing.T) {
	c := newClient(t, usual(t))
	c.Write([]byte("XCLIENT ADDR=198.51.100.9\r\n"))
	trusted := usual(t)
	trusted.Trusted, trusted.HostName = trusting{netip.MustParseAddr("192.0.2.7")}, "new.example"
	c.settings = trusted
	c.out = nil
	c.Write([]byte("XCLIENT HELO=x\r\n"))
	if string(c.out) != "220 new.example ESMTP\r\n" {
		t.Errorf("trusted now: %s", c.out)
	}
	c.settings = usual(t)
	c.out = nil
	c.Write([]byte("XCLIENT ADDR=198.51.100.9\r\n"))
	if !strings.HasPrefix(string(c.out), "550 ") {
		t.Errorf("trusted no more: %s", c.out)
	}
}

// TestXClientMove: the address that is spoken for may be one too many.
func TestXClientMove(t *testing.T) {
	settings := usual(t)
	settings.Trusted = trusting{netip.MustParseAddr("192.0.2.7")}
	c := newClient(t, settings)
	var moved netip.Addr
	c.s.OnMove(func(to netip.Addr) *smtp.Reply {
		moved = to
		return &smtp.Reply{Code: 421, Enhanced: "4.3.2", Text: "Too many"}
	})
	c.out = nil
	c.Write([]byte("XCLIENT ADDR=198.51.100.9\r\n"))
	if string(c.out) != "421 4.3.2 Too many\r\n" || c.s.Wish() != session.WishClose || moved.String() != "198.51.100.9" {
		t.Errorf("%q, moved to %v", c.out, moved)
	}
}

// TestIntroduce: what a PROXY header contains is in the envelope and cannot be changed,
// and a client that uses TLS to the proxy is offered none.
func TestIntroduce(t *testing.T) {
	const tls = "TLS1.3 TLS_AES_128_GCM_SHA256"
	settings := usual(t)
	settings.Trusted = trusting{netip.MustParseAddr("192.0.2.7")}
	c := newClient(t, settings)
	full := &smtp.Reply{Code: 421, Enhanced: "4.3.2", Text: "Too many"}
	for _, want := range []*smtp.Reply{full, nil} {
		c.s = session.New(c.world, c.memory, "s1", netip.MustParseAddrPort("192.0.2.7:4711"))
		var moved netip.Addr
		c.s.OnMove(func(to netip.Addr) *smtp.Reply { moved = to; return want })
		if got := c.s.Introduce(netip.MustParseAddrPort("198.51.100.9:77"), tls); got != want || moved.String() != "198.51.100.9" {
			t.Errorf("refusal %v, moved to %v", got, moved)
		}
	}
	for _, word := range []string{"STARTTLS", "REQUIRETLS", "XCLIENT"} {
		if reply := c.say("EHLO client.example"); strings.Contains(reply, word) {
			t.Errorf("%s is offered: %s", word, reply)
		}
	}
	c.expect("503 550 530", "STARTTLS", "XCLIENT ADDR=192.0.2.1", "MAIL FROM:<a@example.org> REQUIRETLS")
	c.expect("250 550 250 354 250", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>", "RCPT TO:<b@example.com>", "DATA", ".")
	for _, event := range []string{"message refused", "recipient refused", "message accepted"} {
		_, rest, _ := strings.Cut(c.log.String(), `msg="`+event+`" session=s1 remote=198.51.100.9:77 proxy=192.0.2.7:4711 helo=client.example `)
		if line, _, _ := strings.Cut(rest, "\n"); !strings.Contains(line, ` tls="`+tls+`"`) {
			t.Errorf("%s: the log has %s", event, c.log.String())
		}
	}
	if e := c.envelopes[0]; e.Remote.String() != "198.51.100.9:77" || e.TLS != tls || e.Protocol != "ESMTPS" {
		t.Errorf("envelope of %v with %s by %s", e.Remote, e.TLS, e.Protocol)
	}
	c.end()
}

// TestSessionsTold: a trusted peer learns the number of sessions, and no other peer
// does.
func TestSessionsTold(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		settings := usual(t)
		if trusted {
			settings.Trusted = trusting{netip.MustParseAddr("192.0.2.7")}
		}
		c := newClient(t, settings)
		c.world.Sessions = func() int64 { return 17 }
		reply := c.say("EHLO proxy.example")
		if told := strings.Contains(reply, session.SessionsKeyword+" 17\r\n"); told != trusted || strings.Contains(reply, session.SessionsKeyword) != trusted {
			t.Errorf("trusted %v: %s", trusted, reply)
		}
		c.end()
	}
}

// TestLongName: of the name in HELO 255 bytes are kept, cut at a character.
func TestLongName(t *testing.T) {
	for n := range 300 {
		for _, char := range []string{"a", "\u00e9", "\u20ac", "\U0001f600"} {
			c := newClient(t, usual(t))
			c.say("EHLO "+strings.Repeat("x", n)+strings.Repeat(char, 200), "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA", ".")
			want := strings.Repeat("x", n) + strings.Repeat(char, 200)
			for len(want) > 255 {
				_, size := utf8.DecodeLastRuneInString(want)
				want = want[:len(want)-size]
			}
			if got := c.envelopes[0].Helo; got != want {
				t.Fatalf("%d bytes and %q: %d bytes are kept, want %d", n, char, len(got), len(want))
			}
			c.end()
		}
	}
}
