package session_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"unsafe"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
)

// TestEnvelope looks at what is handed over beside the text.
func TestEnvelope(t *testing.T) {
	for _, tt := range []struct {
		protocol, hello, params string
		tls                     bool
	}{
		{"SMTP", "HELO client.example.org", "", false},
		{"ESMTP", "EHLO client.example.org", "", false},
		{"SMTP", "HELO client.example.org", "", true},
		{"ESMTPS", "EHLO client.example.org", "", true},
		{"UTF8SMTP", "EHLO client.example.org", " SMTPUTF8", false},
		{"UTF8SMTPS", "EHLO client.example.org", " SMTPUTF8", true},
	} {
		t.Run(fmt.Sprint(tt.protocol, tt.tls), func(t *testing.T) {
			c := newClient(t, usual(t))
			if tt.tls {
				c.expect("220", "STARTTLS")
				c.s.TLSStarted("TLS1.3 TLS_AES_128_GCM_SHA256")
			}
			c.say(tt.hello, "MAIL FROM:<a@example.org>"+tt.params, "RCPT TO:<b@example.com>", "RCPT TO:<c@example.com>", "DATA", "x", ".")
			if len(c.envelopes) != 1 {
				t.Fatal("nothing stored")
			}
			e := c.envelopes[0]
			want := envelope.Envelope{Session: "s1", Helo: "client.example.org", Protocol: tt.protocol, Host: "mx.example.com", From: "a@example.org"}
			if tt.tls {
				want.TLS = "TLS1.3 TLS_AES_128_GCM_SHA256"
			}
			if e.Session != want.Session || e.Helo != want.Helo || e.Protocol != want.Protocol || e.TLS != want.TLS || e.Host != want.Host || e.From != want.From {
				t.Errorf("envelope is %+v", e)
			}
			if e.Remote.String() != "192.0.2.7:4711" || !e.Date.Equal(c.now) {
				t.Errorf("remote is %v, date %v", e.Remote, e.Date)
			}
			if len(e.To) != 2 || e.To[0].Hash == e.To[1].Hash || len(e.To[1].Hash) != 32 {
				t.Errorf("recipients are %v", e.To)
			}
			c.end()
		})
	}
}

// TestHeadRoom: the added header lines fit in front of every text.
func TestHeadRoom(t *testing.T) {
	c := newClient(t, usual(t))
	blob := ""
	c.store = func(e *envelope.Envelope) error {
		text := string(e.Message())
		blob = string(e.Blob(1))
		if &e.Blob(1)[0] == &e.Message()[0] || string(e.Message()) != text {
			t.Error("the text is touched")
		}
		return nil
	}
	c.expect("250 250 250 250 354 250", "HELO "+strings.Repeat("x", 400), "MAIL FROM:<a@example.org>",
		"RCPT TO:<b@example.com>", "RCPT TO:<"+strings.Repeat("c", 200)+"@example.com>", "DATA", "x", ".")
	if !strings.HasSuffix(blob, "\r\n\r\nx\r\n") {
		t.Errorf("blob is %q", blob)
	}
	c.end()
}

// TestOutcome turns errors of the saver into replies.
func TestOutcome(t *testing.T) {
	refusal := smtp.Reply{Code: 552, Enhanced: "5.2.2", Text: "Mailbox full"}
	for _, tt := range []struct {
		err   error
		reply string
	}{
		{nil, "250 2.0.0 OK: queued as 00000000000000000000000000000001\r\n"},
		{errors.New("password of root is wrong"), "451 4.3.0 Message not stored, try again later\r\n"},
		{refusal, "552 5.2.2 Mailbox full\r\n"},
		{fmt.Errorf("quota: %w", refusal), "552 5.2.2 Mailbox full\r\n"},
		{smtp.Reply{Code: 400, Text: "Later"}, "400 Later\r\n"},
		{smtp.Reply{Code: 399, Text: "Later"}, "451 4.3.0 Message not stored, try again later\r\n"},
		{smtp.Reply{Code: 250, Enhanced: "2.0.0", Text: "OK"}, "451 4.3.0 Message not stored, try again later\r\n"},
	} {
		c := newClient(t, usual(t))
		c.store = func(*envelope.Envelope) error { return tt.err }
		c.say("HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA")
		if got := c.say("x", "."); got != tt.reply {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.reply)
		}
		c.expect("250", "MAIL FROM:<a@example.org>")
		c.end()
	}
}

// TestSettings: a transaction keeps the settings it began with, the next takes
// the new ones.
func TestSettings(t *testing.T) {
	c := newClient(t, usual(t))
	c.expect("250 250 550", "HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@new.example>")
	changed := *c.settings
	changed.Hosts = hosts("new.example")
	changed.MaxSize = 10
	changed.HostName = "new.example"
	changed.Fits = func(address string) *smtp.Reply {
		if strings.HasPrefix(address, "long") {
			return &smtp.Reply{Code: 550, Enhanced: "5.1.1", Text: "Too long"}
		}
		return nil
	}
	c.settings = &changed
	c.expect("550 250 354 250", "RCPT TO:<b@new.example>", "RCPT TO:<b@example.com>", "DATA", "more than ten bytes", ".")
	c.expect("250 250 550 550 354 552", "MAIL FROM:<a@example.org>", "RCPT TO:<b@new.example>", "RCPT TO:<b@example.com>",
		"RCPT TO:<long@new.example>", "DATA", "more than ten bytes", ".")
	if got := c.say("HELO x"); got != "250 new.example\r\n" {
		t.Errorf("HELO is answered %q", got)
	}
	c.end()
	c = newClient(t, usual(t))
	c.settings = &changed
	if got := c.say("HELO x"); got != "250 new.example\r\n" {
		t.Errorf("the first HELO after a reload is answered %q", got)
	}
	c.end()
}

type hosts string

func (h hosts) Match(domain string) bool { return string(h) == domain }

// TestFitsIsTemporary: a refusal that is not for good is no mark against the
// client.
func TestFitsIsTemporary(t *testing.T) {
	c := newClient(t, usual(t))
	c.settings.Fits = func(string) *smtp.Reply { return &smtp.Reply{Code: 451, Enhanced: "4.3.0", Text: "Later"} }
	c.expect("250 250", "HELO x", "MAIL FROM:<a@example.org>")
	for range 600 {
		c.expect("451", "RCPT TO:<b@example.com>")
	}
	c.end()
}

// TestLog: one line for each message and each refused recipient, found by
// everything that a search may start from.
func TestLog(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		err   error
		want  []string // of the one line at info or above
	}{
		{"nothing", nil, nil, nil},
		{"commands", []string{"HELO x", "NOOP", "BLAH", "QUIT"}, nil, nil},
		{"accepted", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "RCPT TO:<c@example.com>", "DATA", "secret text", "."}, nil,
			[]string{"level=INFO", `msg="message accepted"`, "session=s1", "remote=192.0.2.7:4711", "helo=x", "from=a@example.org",
				"to=b@example.com,c@example.com", "size=13", "hash=00000000000000000000000000000001,00000000000000000000000000000002", `reply="250 2.0.0 OK: queued as 0`, `tls=""`}},
		{"not stored", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA", "secret text", "."}, errors.New("disk full"),
			[]string{"level=WARN", `msg="message not stored"`, `error="disk full"`, `reply="451 4.3.0 `, "hash=0000"}},
		{"too big", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "BDAT 100001", strings.Repeat("x", 100_001)}, nil,
			[]string{"level=INFO", `msg="message refused"`, "from=a@example.org", "to=b@example.com", `reply="552 5.3.4 `}},
		{"too big declared", []string{"HELO x", "MAIL FROM:<a@example.org> SIZE=100001"}, nil,
			[]string{"level=INFO", `msg="message refused"`, "from=a@example.org", `reply="552 5.3.4 `}},
		{"recipient", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>"}, nil,
			[]string{"level=INFO", `msg="recipient refused"`, "from=a@example.org", "to=b@example.org", `reply="550 5.7.1 `}},
		{"lost", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA", "secret text"}, nil,
			[]string{"level=INFO", `msg="connection lost in a message"`, "from=a@example.org"}},
		{"lost in a chunk of no message", []string{"EHLO x", "BDAT 10"}, nil,
			[]string{"level=INFO", `msg="connection lost in a message"`, `helo=x from="" to="" size=0 hash="" tls=""`}},
		{"escaped", []string{"HELO \x1b[31m", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>"}, nil,
			[]string{`helo="\x1b[31m"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t, usual(t))
			c.store = func(*envelope.Envelope) error { return tt.err }
			c.say(tt.lines...)
			c.end()
			var lines []string
			for line := range strings.Lines(c.log.String()) {
				if !strings.Contains(line, "level=DEBUG") {
					lines = append(lines, line)
				}
			}
			if len(lines) > 1 || len(lines) == 0 != (tt.want == nil) {
				t.Fatalf("log is %q", lines)
			}
			for _, want := range tt.want {
				if !strings.Contains(lines[0], want) {
					t.Errorf("%q is missing in %s", want, lines[0])
				}
			}
			if strings.Contains(c.log.String(), `reply="000`) {
				t.Errorf("a reply that was not given in %s", c.log.String())
			}
			if strings.Contains(c.log.String(), "secret") {
				t.Errorf("message text in the log: %s", c.log.String())
			}
		})
	}
}

// TestLogOfConnections: those that come and go are of no interest to anybody
// but who asks for it.
func TestLogOfConnections(t *testing.T) {
	for want, lines := range map[string][]string{
		"connection without a command": nil,
		`msg="connection lost"`:        {"BLAH"},
		"TLS without STARTTLS":         {"\x16\x03\x01"},
		"session closed":               {"GET / HTTP/1.1"},
	} {
		c := newClient(t, usual(t))
		c.say(lines...)
		c.end()
		if log := c.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, want) || !strings.Contains(log, "level=DEBUG") {
			t.Errorf("%q: log is %s", lines, log)
		}
	}
}

// TestLogOfManyRecipients: what is unbounded in number is logged once.
func TestLogOfManyRecipients(t *testing.T) {
	c := newClient(t, usual(t))
	c.say("HELO x", "MAIL FROM:<a@example.org>")
	for range 200 {
		c.say("RCPT TO:<b@example.com>")
	}
	if n := strings.Count(c.log.String(), "recipient refused"); n != 1 {
		t.Errorf("%d lines", n)
	}
	c.end()
}

// TestVerbose logs the dialogue, and no text or secret.
func TestVerbose(t *testing.T) {
	c := newClient(t, usual(t))
	c.settings.Verbose = true
	c.say("EHLO x", "AUTH PLAIN secret", "c2VjcmV0", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "secret\rline", "DATA", "secret text", ".", "secret text", "QUIT")
	c.end()
	log := c.log.String()
	for _, want := range []string{`"C: EHLO x"`, `"S: 250-SIZE 100000"`, `"C: MAIL FROM:<a@example.org>"`, `"S: 250 2.1.0 OK"`, `"S: 354 `, `"S: 250 2.0.0 OK: queued as `, `"S: 500 `, `"C: QUIT"`, `"S: 221 `} {
		if !strings.Contains(log, want) {
			t.Errorf("%s is missing in\n%s", want, log)
		}
	}
	for _, secret := range []string{"secret", "c2VjcmV0", "AUTH"} {
		if strings.Contains(log, secret) {
			t.Errorf("%q is in the log:\n%s", secret, log)
		}
	}
}

// TestOneFeed: a pipelined group is answered by one Feed, up to the wish, and
// the rest is left.
func TestOneFeed(t *testing.T) {
	c := newClient(t, usual(t))
	mail := "HELO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nx\r\n.\r\n"
	in := mail + "NOOP\r\nQU"
	used, out := c.s.Feed([]byte(in), nil)
	if used != len(mail) || codesOf(string(out)) != "250 250 250 354" || c.s.Wish() != session.WishSave {
		t.Fatalf("used %d, answer %q, wish %d", used, out, c.s.Wish())
	}
	if used, out := c.s.Feed([]byte(in[used:]), nil); used != 0 || len(out) != 0 {
		t.Errorf("used %d, answer %q before the outcome", used, out)
	}
	if got := string(c.s.Envelope().Message()); got != "x\r\n" {
		t.Errorf("message is %q", got)
	}
	out = c.s.Saved(nil, nil)
	if c.s.Envelope() != nil {
		t.Error("the envelope is still there")
	}
	used, out = c.s.Feed([]byte(in[used:]), out)
	if used != len("NOOP\r\n") || codesOf(string(out)) != "250 250" {
		t.Errorf("used %d, answer %q", used, out)
	}
	c.end()
}

// TestStopsAtStartTLS: what stands behind it is not consumed.
func TestStopsAtStartTLS(t *testing.T) {
	c := newClient(t, usual(t))
	used, out := c.s.Feed([]byte("STARTTLS\r\nHELO x\r\n"), nil)
	if used != len("STARTTLS\r\n") || codesOf(string(out)) != "220" || c.s.Wish() != session.WishStartTLS {
		t.Errorf("used %d, answer %q, wish %d", used, out, c.s.Wish())
	}
}

// TestRecordInsideTLS: what looks like a TLS record is a command line inside TLS.
func TestRecordInsideTLS(t *testing.T) {
	c := newClient(t, usual(t))
	c.expect("220", "STARTTLS")
	c.s.TLSStarted("TLS1.3")
	c.expect("500 250", "\x16\x03\x01", "NOOP")
	c.end()
}

// TestAnswersOutOfTurn: an answer to no wish changes nothing.
func TestAnswersOutOfTurn(t *testing.T) {
	c := newClient(t, usual(t))
	if out := c.s.Saved(nil, c.s.Room(false, c.s.Room(true, nil))); len(out) > 0 {
		t.Errorf("answer %q", out)
	}
	c.s.TLSStarted("TLS1.3")
	c.expect("220", "STARTTLS")
}

// TestIdleIsSmall: a hundred thousand idle sessions are no burden.
func TestIdleIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(session.Session{}); size > 288 {
		t.Errorf("a session is %d bytes", size)
	}
}

// TestAllocations: a usual message costs a session, an envelope and the strings that
// are passed on.
func TestAllocations(t *testing.T) {
	c := newMail(t)
	if n := testing.AllocsPerRun(100, c.mail); n > 10 {
		t.Errorf("a message costs %v allocations, want 10", n)
	}
}

// TestTextAllocatesNothing: whatever its length, and however it comes. Nor does
// a command that has nothing to hand on.
func TestTextAllocatesNothing(t *testing.T) {
	text := strings.Repeat("a line of the text\r\n..with a dot\r\n", 20)
	for name, begin := range map[string]string{"DATA": "DATA\r\n", "BDAT": "BDAT 90000\r\n"} {
		c := newMail(t)
		s := session.New(c.world, c, "id", netip.AddrPortFrom(netip.IPv4Unspecified(), 1))
		c.out = s.Greet(c.out[:0])
		for _, line := range []string{"EHLO client.example.org\r\n", "MAIL FROM:<a@example.org>\r\n", "RCPT TO:<b@example.com>\r\n"} {
			c.feed(s, line)
		}
		if n := testing.AllocsPerRun(100, func() { c.feed(s, "NOOP\r\n") }); n > 0 {
			t.Errorf("NOOP costs %v allocations", n)
		}
		if _, c.out = s.Feed([]byte(begin), c.out[:0]); s.Space() == nil {
			t.Fatalf("%s is answered %q", begin, c.out)
		}
		in := []byte(text)
		if n := testing.AllocsPerRun(50, func() { s.Feed(in, c.out[:0]) }); n > 0 {
			t.Errorf("%d bytes after %s cost %v allocations", len(in), name, n)
		}
		if n := testing.AllocsPerRun(50, func() { s.Filled(copy(s.Space(), in), c.out[:0]) }); n > 0 {
			t.Errorf("%d bytes in the message's buffer after %s cost %v allocations", len(in), name, n)
		}
	}
}

func BenchmarkMail(b *testing.B) {
	c := newMail(b)
	b.ReportAllocs()
	for b.Loop() {
		c.mail()
	}
}
