package smtp_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"goguerrillad/internal/smtp"
)

func TestReply(t *testing.T) {
	for _, c := range []struct {
		reply smtp.Reply
		wire  string
		err   string
	}{
		{smtp.Reply{Code: 250, Enhanced: "2.0.0", Text: "OK"}, "250 2.0.0 OK\r\n", "250 2.0.0 OK"},
		{smtp.Reply{Code: 354, Text: "Go on"}, "354 Go on\r\n", "354 Go on"},
		{smtp.Reply{Code: 550, Enhanced: "5.7.1"}, "550 5.7.1 \r\n", "550 5.7.1 "},

		// The enhanced code is on every line.
		{smtp.Reply{Code: 214, Enhanced: "2.0.0", Text: "one\ntwo\nthree"},
			"214-2.0.0 one\r\n214-2.0.0 two\r\n214 2.0.0 three\r\n", "214 2.0.0 one two three"},
		{smtp.Reply{Code: 250, Text: "host\nSIZE 10\nPIPELINING"},
			"250-host\r\n250-SIZE 10\r\n250 PIPELINING\r\n", "250 host SIZE 10 PIPELINING"},

		// A text cannot contain another reply or a control character.
		{smtp.Reply{Code: 500, Text: "a\r\n250 b\x07\x00\x7f"}, "500-a?\r\n500 250 b???\r\n", "500 a? 250 b???"},
	} {
		if got := string(c.reply.Append([]byte("x"))); got != "x"+c.wire {
			t.Errorf("%q: Append returns %q, want %q", c.reply.Text, got, "x"+c.wire)
		}
		if got := c.reply.Error(); got != c.err {
			t.Errorf("%q: Error returns %q, want %q", c.reply.Text, got, c.err)
		}
	}
}

// TestReplyIsError: a reply can be found in a wrapped error.
func TestReplyIsError(t *testing.T) {
	err := fmt.Errorf("check recipient: %w", smtp.Reply{Code: 451, Enhanced: "4.3.0", Text: "Later"})
	var r smtp.Reply
	if !errors.As(err, &r) || r.Code != 451 {
		t.Errorf("errors.As finds the reply %q, want code 451", r)
	}
}

func TestReplyDoesNotAllocate(t *testing.T) {
	r := smtp.Reply{Code: 250, Enhanced: "2.0.0", Text: strings.Repeat("a line\n", 10) + "the last"}
	out := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { out = r.Append(out[:0]) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
