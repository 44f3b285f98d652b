package smtp_test

import (
	"strings"
	"testing"

	"goguerrillad/internal/smtp"
)

func TestParseCommand(t *testing.T) {
	for _, c := range []struct{ line, verb, arg string }{
		{"NOOP", "NOOP", ""},
		{"EHLO a.example", "EHLO", "a.example"},
		{"mail FROM:<a@b>", "MAIL", "FROM:<a@b>"},
		{"StartTLS", "STARTTLS", ""},
		{"xClient ADDR=1.2.3.4 NAME=x", "XCLIENT", "ADDR=1.2.3.4 NAME=x"},

		// Spaces and tabs are removed around the argument only.
		{"QUIT \t ", "QUIT", ""},
		{" \tRCPT\tTO:<a@b>  X  Y ", "RCPT", "TO:<a@b>  X  Y"},
		{"NOOP \v x\u00a0", "NOOP", "\v x\u00a0"},

		// Unknown verbs.
		{"", "", ""},
		{"   ", "", ""},
		{"wiz", "WIZ", ""},
		{"verylongverbs are fine", "VERYLONGVERBS", "are fine"},
		{"MAILFROM:<a@b>", "MAILFROM:<A@B>", ""},
		{"DATA\x00", "DATA\x00", ""},
		{"\xff\xfe", "\xff\xfe", ""},

		// By the rules of Unicode, long s and dotless i would become S and I.
		{"ſTARTTLS", "ſTARTTLS", ""},
		{"RſET", "RſET", ""},
		{"MAıL FROM:<>", "MAıL", "FROM:<>"},
	} {
		verb, arg := smtp.ParseCommand([]byte(c.line))
		if verb != c.verb {
			t.Errorf("ParseCommand(%q): verb %q, want %q", c.line, verb, c.verb)
		}
		if arg != c.arg {
			t.Errorf("ParseCommand(%q): argument %q, want %q", c.line, arg, c.arg)
		}
	}
}

func TestKnownVerbsDoNotAllocate(t *testing.T) {
	for verb := range strings.FieldsSeq("helo ehlo mail rcpt data bdat rset noop quit vrfy expn help starttls xclient") {
		line := []byte(verb)
		if n := testing.AllocsPerRun(100, func() { smtp.ParseCommand(line) }); n != 0 {
			t.Errorf("ParseCommand(%q): %v allocations, want 0", verb, n)
		}
		if got, _ := smtp.ParseCommand(line); got != strings.ToUpper(verb) {
			t.Errorf("ParseCommand(%q): verb %q, want %q", verb, got, strings.ToUpper(verb))
		}
	}
}

func TestLooksLikeHTTP(t *testing.T) {
	for _, c := range []struct {
		line string
		want bool
	}{
		{"GET / HTTP/1.1", true},
		{"POST /mail HTTP/1.0", true},
		{"OPTIONS * HTTP/1.1", true},
		{"CONNECT example.com:443 HTTP/1.1", true},
		{"PRI * HTTP/2.0", true},
		{"get http://example.com/", true},
		{"PUT", true},

		{"HELP", false},
		{"HEADER", false},
		{"GETAWAY / HTTP/1.1", false},
		{"Host: example.com", false},
		{"", false},
	} {
		if got := smtp.LooksLikeHTTP([]byte(c.line)); got != c.want {
			t.Errorf("LooksLikeHTTP(%q) = %v, want %v", c.line, got, c.want)
		}
	}
}

func TestLooksLikeTLS(t *testing.T) {
	for _, c := range []struct {
		first string
		want  bool
	}{
		{"\x16\x03\x01\x02\x00\x01", true},
		{"\x16\x03", true},

		{"\x16", false}, // one byte is not enough
		{"", false},
		{"\x16\n", false},
		{"\x17\x03\x03", false},
		{"EHLO x", false},
	} {
		if got := smtp.LooksLikeTLS([]byte(c.first)); got != c.want {
			t.Errorf("LooksLikeTLS(%q) = %v, want %v", c.first, got, c.want)
		}
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{"NOOP", "mail FROM:<a@b> SIZE=1", " \tquit\t", "ſTARTTLS", "GET / HTTP/1.1", "\x16\x03\x01", "", "\x00 \xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		original := string(line)
		verb, arg := smtp.ParseCommand(line)
		smtp.LooksLikeHTTP(line)
		smtp.LooksLikeTLS(line)
		if string(line) != original {
			t.Errorf("the line was changed to %q", line)
		}
		if strings.ContainsAny(verb, " \t") {
			t.Errorf("verb %q has blanks", verb)
		}
		if arg != strings.Trim(arg, " \t") {
			t.Errorf("argument %q has blanks at an end", arg)
		}
		// Verb and argument are the line, except for blanks and case.
		if verb2, arg2 := smtp.ParseCommand([]byte(verb + " " + arg)); verb2 != verb || arg2 != arg {
			t.Errorf("verb %q and argument %q are parsed as %q and %q", verb, arg, verb2, arg2)
		}
		if len(verb)+len(arg) > len(strings.Trim(original, " \t")) {
			t.Errorf("verb %q and argument %q are longer than the line %q", verb, arg, original)
		}
	})
}
