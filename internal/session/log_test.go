package session_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"goguerrillad/internal/envelope"
)

// TestLog: the log has one line for each message and each refused recipient, with all
// their attributes.
func TestLog(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		err   error
		want  []string // in the only line of level info or above
	}{
		{"nothing", nil, nil, nil},
		{"commands", []string{"HELO x", "NOOP", "BLAH", "QUIT"}, nil, nil},
		{"accepted", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "RCPT TO:<c@example.com>", "DATA", "secret text", "."}, nil,
			[]string{"level=INFO", `msg="message accepted"`, "session=s1", "remote=192.0.2.7:4711", "helo=x", "from=a@example.org",
				"to=b@example.com,c@example.com", "size=13", "hash=00000000000000000000000000000001,00000000000000000000000000000002", `reply="250 2.0.0 OK: queued as 0`, `tls=""`}},
		{"not stored", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA", "secret text", "."}, errors.New("disk full"),
			[]string{"level=WARN", `msg="message not stored"`, `error="disk full"`, `reply="451 4.3.0 `, "hash=0000"}},
		{"too big", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "BDAT 100001", strings.Repeat("x", 100_001)}, nil,
			[]string{"level=INFO", `msg="message refused"`, "from=a@example.org", "to=b@example.com", "size=100001 ", "limit=100000", `reply="552 5.3.4 `}},
		{"too big text", append([]string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA"}, append(slices.Repeat([]string{strings.Repeat("x", 998)}, 123), ".")...), nil,
			[]string{`msg="message refused"`, "size=123000 ", "limit=100000"}},
		{"too big declared", []string{"HELO x", "MAIL FROM:<a@example.org> SIZE=100001"}, nil,
			[]string{"level=INFO", `msg="message refused"`, "from=a@example.org", "declared=100001", "limit=100000", `reply="552 5.3.4 `}},
		{"recipient", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>"}, nil,
			[]string{"level=INFO", `msg="recipient refused"`, "from=a@example.org", "to=b@example.org", `reply="550 5.7.1 `, `reason="the domain is not in GM_ALLOWED_HOSTS"`}},
		{"lost", []string{"HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA", "secret text"}, nil,
			[]string{"level=INFO", `msg="connection lost during a message"`, "from=a@example.org"}},
		{"lost in a chunk without MAIL", []string{"EHLO x", "BDAT 10"}, nil,
			[]string{"level=INFO", `msg="connection lost during a message"`, `helo=x from="" to="" size=0 hash="" tls=""`}},
		{"escaped", []string{"HELO \x1b[31m", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>"}, nil,
			[]string{`helo="\x1b[31m"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t, testSettings(t))
			c.store = func(*envelope.Envelope) error { return tt.err }
			c.send(tt.lines...)
			c.end()
			var lines []string
			for line := range strings.Lines(c.log.String()) {
				if !strings.Contains(line, "level=DEBUG") {
					lines = append(lines, line)
				}
			}
			if len(lines) > 1 || len(lines) == 0 != (tt.want == nil) {
				t.Fatalf("%d log lines: %q", len(lines), lines)
			}
			for _, want := range tt.want {
				if !strings.Contains(lines[0], want) {
					t.Errorf("%q is missing in %s", want, lines[0])
				}
			}
			if strings.Contains(c.log.String(), `reply="000`) {
				t.Errorf("the log has a reply without a code: %s", c.log.String())
			}
			if strings.Contains(c.log.String(), "secret") {
				t.Errorf("the log has message text: %s", c.log.String())
			}
		})
	}
}

// TestLogConnections: connections without a message are logged at level debug.
func TestLogConnections(t *testing.T) {
	for want, lines := range map[string][]string{
		"connection without a command": nil,
		`msg="connection lost"`:        {"BLAH"},
		"TLS without STARTTLS":         {"\x16\x03\x01"},
		"session closed":               {"GET / HTTP/1.1"},
	} {
		c := newClient(t, testSettings(t))
		c.send(lines...)
		c.end()
		if log := c.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, want) || !strings.Contains(log, "level=DEBUG") {
			t.Errorf("%q: log %q, want one line with %q", lines, log, want)
		}
	}
}

// TestLogTooManyRecipients: only the first recipient beyond the limit is logged.
func TestLogTooManyRecipients(t *testing.T) {
	c := newClient(t, testSettings(t))
	c.send("HELO x", "MAIL FROM:<a@example.org>")
	for range 200 {
		c.send("RCPT TO:<b@example.com>")
	}
	if n := strings.Count(c.log.String(), "recipient refused"); n != 1 {
		t.Errorf("%d log lines, want 1", n)
	}
	c.end()
}

// TestVerbose: the log has the dialogue, but no message text and no secret.
func TestVerbose(t *testing.T) {
	c := newClient(t, testSettings(t))
	c.settings.Verbose = true
	c.send("EHLO x", "AUTH PLAIN secret", "c2VjcmV0", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "secret\rline", "DATA", "secret text", ".", "secret text", "QUIT")
	c.end()
	log := c.log.String()
	for _, want := range []string{`"C: EHLO x"`, `"S: 250-SIZE 100000"`, `"C: MAIL FROM:<a@example.org>"`, `"S: 250 2.1.0 OK"`, `"S: 354 `, `"S: 250 2.0.0 OK: queued as `, `"S: 500 `, `"C: QUIT"`, `"S: 221 `} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %s:\n%s", want, log)
		}
	}
	for _, secret := range []string{"secret", "c2VjcmV0", "AUTH"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %q:\n%s", secret, log)
		}
	}
}
