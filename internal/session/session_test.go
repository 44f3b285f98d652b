package session_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
)

// TestEnvelope checks the envelope of a message, except its text.
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
			c := newClient(t, testSettings(t))
			if tt.tls {
				c.expect("220", "STARTTLS")
				c.s.TLSStarted("TLS1.3 TLS_AES_128_GCM_SHA256")
			}
			c.send(tt.hello, "MAIL FROM:<a@example.org>"+tt.params, "RCPT TO:<b@example.com>", "RCPT TO:<c@example.com>", "DATA", "x", ".")
			if len(c.envelopes) != 1 {
				t.Fatal("no message stored")
			}
			e := c.envelopes[0]
			tls := ""
			if tt.tls {
				tls = "TLS1.3 TLS_AES_128_GCM_SHA256"
			}
			for _, field := range []struct{ name, got, want string }{
				{"Session", e.Session, "s1"},
				{"Remote", e.Remote.String(), "192.0.2.7:4711"},
				{"Helo", e.Helo, "client.example.org"},
				{"Protocol", e.Protocol, tt.protocol},
				{"TLS", e.TLS, tls},
				{"Host", e.Host, "mx.example.com"},
				{"From", e.From, "a@example.org"},
				{"Date", e.Date.String(), c.now.String()},
			} {
				if field.got != field.want {
					t.Errorf("%s: %q, want %q", field.name, field.got, field.want)
				}
			}
			if len(e.To) != 2 || e.To[0].Hash == e.To[1].Hash || len(e.To[1].Hash) != 32 {
				t.Errorf("To: %v, want two recipients with different hashes", e.To)
			}
			c.end()
		})
	}
}

// TestHeadRoom: the added header lines fit before the text.
func TestHeadRoom(t *testing.T) {
	c := newClient(t, testSettings(t))
	blob := ""
	c.store = func(e *envelope.Envelope) error {
		text := string(e.Message())
		blob = string(e.Blob(1))
		if &e.Blob(1)[0] == &e.Message()[0] || string(e.Message()) != text {
			t.Error("Blob has changed the text")
		}
		return nil
	}
	c.expect("250 250 250 250 354 250", "HELO "+strings.Repeat("x", 400), "MAIL FROM:<a@example.org>",
		"RCPT TO:<b@example.com>", "RCPT TO:<"+strings.Repeat("c", 200)+"@example.com>", "DATA", "x", ".")
	if !strings.HasSuffix(blob, "\r\n\r\nx\r\n") {
		t.Errorf("blob %q, want the text at the end", blob)
	}
	c.end()
}

// TestOutcome checks the replies to errors of Save.
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
		c := newClient(t, testSettings(t))
		c.store = func(*envelope.Envelope) error { return tt.err }
		c.send("HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA")
		if got := c.send("x", "."); got != tt.reply {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.reply)
		}
		c.expect("250", "MAIL FROM:<a@example.org>")
		c.end()
	}
}

// TestSettings: a transaction keeps its settings, and the next one takes new settings.
func TestSettings(t *testing.T) {
	c := newClient(t, testSettings(t))
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
	if got := c.send("HELO x"); got != "250 new.example\r\n" {
		t.Errorf("reply to HELO %q, want the new host name", got)
	}
	c.end()
	c = newClient(t, testSettings(t))
	c.settings = &changed
	if got := c.send("HELO x"); got != "250 new.example\r\n" {
		t.Errorf("reply to the first HELO %q, want the new host name", got)
	}
	c.end()
}

type hosts string

func (h hosts) Match(domain string) bool { return string(h) == domain }

// TestTemporaryRefusals: temporary refusals of recipients do not end the session.
func TestTemporaryRefusals(t *testing.T) {
	c := newClient(t, testSettings(t))
	c.settings.Fits = func(string) *smtp.Reply { return &smtp.Reply{Code: 451, Enhanced: "4.3.0", Text: "Later"} }
	c.expect("250 250", "HELO x", "MAIL FROM:<a@example.org>")
	for range 600 {
		c.expect("451", "RCPT TO:<b@example.com>")
	}
	c.end()
}

// TestOneFeed: one Feed runs a pipelined group up to the first request, and leaves the
// rest.
func TestOneFeed(t *testing.T) {
	c := newClient(t, testSettings(t))
	message := "HELO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nx\r\n.\r\n"
	in := message + "NOOP\r\nQU"
	used, out := c.s.Feed([]byte(in), nil)
	if used != len(message) || codesOf(string(out)) != "250 250 250 354" || c.s.Request() != session.RequestSave {
		t.Fatalf("Feed used %d bytes, replies %q, request %d", used, out, c.s.Request())
	}
	if used, out := c.s.Feed([]byte(in[used:]), nil); used != 0 || len(out) != 0 {
		t.Errorf("before Saved: Feed used %d bytes, replies %q", used, out)
	}
	if got := string(c.s.Envelope().Message()); got != "x\r\n" {
		t.Errorf("message %q, want %q", got, "x\r\n")
	}
	out = c.s.Saved(nil, nil)
	if c.s.Envelope() != nil {
		t.Error("after Saved: the session has an envelope")
	}
	used, out = c.s.Feed([]byte(in[used:]), out)
	if used != len("NOOP\r\n") || codesOf(string(out)) != "250 250" {
		t.Errorf("after Saved: Feed used %d bytes, replies %q", used, out)
	}
	c.end()
}

// TestStartTLSEndsFeed: Feed consumes nothing after STARTTLS.
func TestStartTLSEndsFeed(t *testing.T) {
	c := newClient(t, testSettings(t))
	used, out := c.s.Feed([]byte("STARTTLS\r\nHELO x\r\n"), nil)
	if used != len("STARTTLS\r\n") || codesOf(string(out)) != "220" || c.s.Request() != session.RequestStartTLS {
		t.Errorf("Feed used %d bytes, replies %q, request %d", used, out, c.s.Request())
	}
}

// TestRecordInsideTLS: inside TLS, the bytes of a TLS record are a command line.
func TestRecordInsideTLS(t *testing.T) {
	c := newClient(t, testSettings(t))
	c.expect("220", "STARTTLS")
	c.s.TLSStarted("TLS1.3")
	c.expect("500 250", "\x16\x03\x01", "NOOP")
	c.end()
}

// TestNoRequest: the calls that complete a request do nothing without it.
func TestNoRequest(t *testing.T) {
	c := newClient(t, testSettings(t))
	if out := c.s.Saved(nil, c.s.MemoryAvailable(false, c.s.MemoryAvailable(true, nil))); len(out) > 0 {
		t.Errorf("replies %q, want none", out)
	}
	c.s.TLSStarted("TLS1.3")
	c.expect("220", "STARTTLS")
}
