package mailinfo_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestBoundaryWithoutQuotes: the delimiter lines decide how much of a parameter
// without quotes is the boundary.
func TestBoundaryWithoutQuotes(t *testing.T) {
	tests := []struct{ param, line string }{
		{"a(b)", "a(b)"},
		{"a b", "a b"},
		{"a  b ; x=y", "a  b"},
		{"a\r\n b", "a b"},
		{"a(b", "a(b"},
		{"a=b/c?d:e,f", "a=b/c?d:e,f"},
		{"a (comment)", "a"},
		{"a(comment); x=y", "a"},
		{"a charset=utf-8", "a"},
		{"a name=\"x;y\"", "a"},
		{"\"a b\" c", "a b"},
		{"a; boundary=b", "a"},
	}
	for _, tt := range tests {
		message := "Content-Type: multipart/mixed; boundary=" + tt.param + "\r\n\r\n--" + tt.line + "\r\n" +
			at("x") + "\r\nabc\r\n--" + tt.line + "\r\n" + at("y") + "\r\nab\r\n--" + tt.line + "--\r\n--" + tt.line + "\r\n" + at("z")
		if got := names(message); got != "x:3 y:2" {
			t.Errorf("boundary=%s, --%s: attachments %q, want x:3 y:2", tt.param, tt.line, got)
		}
	}
	// The shorter boundary is text after a line with the longer boundary.
	text := "Content-Type: multipart/mixed; boundary=a b\r\n\r\n--a b\r\n" + at("x") + "\r\n--a\r\nb\r\n--a--\r\n--a b\r\n" + at("y") + "\r\nab\r\n--a b--\r\n"
	if got := names(text); got != "x:13 y:2" {
		t.Errorf("shorter boundary in a body: attachments %q, want x:13 y:2", got)
	}
	// Both multiparts have two boundaries, and a delimiter of the outer one ends the inner one.
	nested := "Content-Type: multipart/mixed; boundary=a b\r\n\r\n--a b\r\nContent-Type: multipart/mixed; boundary=a(c)\r\n\r\n--a(c)\r\n" +
		at("x") + "\r\nabc\r\n--a b\r\n" + at("y") + "\r\nab\r\n--a b--\r\n"
	if got := names(nested); got != "x:3 y:2" {
		t.Errorf("nested: attachments %q, want x:3 y:2", got)
	}
}

// TestCRCRLF: Parse finds all parts and fields if all lines, or only the delimiter
// lines, end with CR CR LF.
func TestCRCRLF(t *testing.T) {
	lines := []string{"Subject: s", "Content-Type: multipart/mixed;", " boundary=b", "", "--b", "Content-Type: image/png;", " name=a", "", "abc", "--b  ", "", "x", "--b", "Content-Disposition: attachment; filename=c", "", "", "--b--", ""}
	every := strings.Join(lines, "\r\r\n")
	delimiters := strings.Join(lines, "\r\n")
	for _, line := range []string{"--b", "--b  ", "--b--"} {
		delimiters = strings.ReplaceAll(delimiters, "\r\n"+line+"\r\n", "\r\n"+line+"\r\r\n")
	}
	for name, message := range map[string]string{
		"every line":           every,
		"delimiter lines":      delimiters,
		"three CRs":            strings.ReplaceAll(every, "\r\r\n", "\r\r\r\n"),
		"delimiters, no LF":    strings.TrimSuffix(delimiters, "\n"),
		"CR LF":                strings.Join(lines, "\r\n"),
		"delimiters LF, or CR": strings.ReplaceAll(delimiters, "--b\r\r\n", "--b\n"),
	} {
		if got := names(message); got != "a:3 c:0" {
			t.Errorf("%s: attachments %q, want a:3 c:0", name, got)
		}
		if got := subject(strings.TrimPrefix(message, "Subject:")); got != "s" {
			t.Errorf("%s: subject %q, want s", name, got)
		}
	}
	// A CR before the line end of the delimiter belongs to the body.
	if got := names(multi("--b", at("a"), "x\r", "--b--", "")); got != "a:2" {
		t.Errorf("body that ends with CR: attachments %q, want a:2", got)
	}
}

// TestQuotedWords: quotes around a transfer encoding or a disposition are ignored.
func TestQuotedWords(t *testing.T) {
	for _, encoding := range []string{`"base64"`, `"BASE64"`, ` (x) "base64" (y)`, `" base64 "`, `"base64`, `"base64"; x=y`} {
		message := "Content-Disposition: attachment\r\nContent-Transfer-Encoding: " + encoding + "\r\n\r\nYWJj"
		if got := names(message); got != ":3" {
			t.Errorf("encoding %s: attachments %q, want :3", encoding, got)
		}
	}
	for _, disposition := range []string{`"attachment"`, `"ATTACHMENT"; filename=`, `"attachment`} {
		if got := names("Content-Disposition: " + disposition + "\r\n\r\nabc"); got != ":3" {
			t.Errorf("disposition %s: attachments %q, want :3", disposition, got)
		}
	}
}

func TestUuencodeSize(t *testing.T) {
	full := "M" + strings.Repeat("86%A", 15) + "\r\n"
	tests := []struct {
		body string
		want int
	}{
		{"begin 644 a.txt\r\n#86%A\r\n`\r\nend\r\n", 3},
		{"begin 644 a.txt\n#86%A\n \nend\n", 3},
		{"text\r\n\r\nbegin 644 a b\r\n" + strings.Repeat(full, 100) + "!80  \r\n`\r\nend\r\n" + full, 4501},
		{"begin 644 a\r\n#86\r\n`\r\nend", 3},
		{"begin 644 a\r\n" + full, 45},
		{"begin 644 a\r\n\r\n`\r\nend\r\n", 0},
		{"begin 644 a\r\n", 0},
		{"no beginning\r\n" + full, len("no beginning\r\n") + len(full)},
		{"", 0},
		{"begin 644 a\r\n" + strings.Repeat("M\r\n", 100), len("begin 644 a\r\n") + 300},
	}
	for _, encoding := range []string{"x-uuencode", "X-UUEncode", "uuencode", "x-uue", "uue", `"x-uuencode"`} {
		for _, tt := range tests {
			message := "Content-Disposition: attachment\r\nContent-Transfer-Encoding: " + encoding + "\r\n\r\n" + tt.body
			if got, want := names(message), fmt.Sprint(":", tt.want); got != want {
				t.Errorf("%s %q: attachments %q, want %s", encoding, tt.body, got, want)
			}
		}
	}
}
