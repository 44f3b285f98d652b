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

		// Blanks, which are spaces and tabs, are lost round the argument only.
		{"QUIT \t ", "QUIT", ""},
		{" \tRCPT\tTO:<a@b>  X  Y ", "RCPT", "TO:<a@b>  X  Y"},
		{"NOOP \v x\u00a0", "NOOP", "\v x\u00a0"},

		// Not verbs of ours.
		{"", "", ""},
		{"   ", "", ""},
		{"wiz", "WIZ", ""},
		{"verylongverbs are fine", "VERYLONGVERBS", "are fine"},
		{"MAILFROM:<a@b>", "MAILFROM:<A@B>", ""},
		{"DATA\x00", "DATA\x00", ""},
		{"\xff\xfe", "\xff\xfe", ""},

		// Long s and dotless i are no letters of a verb, as they are for Unicode.
		{"ſTARTTLS", "ſTARTTLS", ""},
		{"RſET", "RſET", ""},
		{"MAıL FROM:<>", "MAıL", "FROM:<>"},
	} {
		verb, arg := smtp.ParseCommand([]byte(c.line))
		if verb != c.verb || arg != c.arg {
			t.Errorf("ParseCommand(%q) = %q, %q, want %q, %q", c.line, verb, arg, c.verb, c.arg)
		}
	}
}

func TestKnownVerbsDoNotAllocate(t *testing.T) {
	for verb := range strings.FieldsSeq("helo ehlo mail rcpt data bdat rset noop quit vrfy expn help starttls xclient") {
		line := []byte(verb)
		if n := testing.AllocsPerRun(100, func() { smtp.ParseCommand(line) }); n != 0 {
			t.Errorf("%s: %v allocations", verb, n)
		}
		if got, _ := smtp.ParseCommand(line); got != strings.ToUpper(verb) {
			t.Errorf("ParseCommand(%q) = %q", verb, got)
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
			t.Errorf("LooksLikeHTTP(%q) = %v", c.line, got)
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

		{"\x16", false}, // not yet to be said
		{"", false},
		{"\x16\n", false},
		{"\x17\x03\x03", false},
		{"EHLO x", false},
	} {
		if got := smtp.LooksLikeTLS([]byte(c.first)); got != c.want {
			t.Errorf("LooksLikeTLS(%q) = %v", c.first, got)
		}
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{"NOOP", "mail FROM:<a@b> SIZE=1", " \tquit\t", "ſTARTTLS", "GET / HTTP/1.1", "\x16\x03\x01", "", "\x00 \xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		given := string(line)
		verb, arg := smtp.ParseCommand(line)
		smtp.LooksLikeHTTP(line)
		smtp.LooksLikeTLS(line)
		if string(line) != given {
			t.Error("the line was changed")
		}
		if strings.ContainsAny(verb, " \t") || arg != strings.Trim(arg, " \t") {
			t.Errorf("verb %q, argument %q", verb, arg)
		}
		// Put together again they are the line, but for blanks and case.
		if again, same := smtp.ParseCommand([]byte(verb + " " + arg)); again != verb || same != arg {
			t.Errorf("%q, %q became %q, %q", verb, arg, again, same)
		}
		if len(verb)+len(arg) > len(strings.Trim(given, " \t")) {
			t.Errorf("%q and %q are longer than %q", verb, arg, given)
		}
	})
}
