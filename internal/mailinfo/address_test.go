package mailinfo_test

import (
	"strings"
	"testing"

	"goguerrillad/internal/mailinfo"
)

// TestAddress: ReplyTo and Sender are the first address of their fields, whatever is
// around it.
func TestAddress(t *testing.T) {
	for _, tt := range []struct{ name, field, want string }{
		{"bare", "bob@example.org", "bob@example.org"},
		{"bracketed", "<bob@example.org>", "bob@example.org"},
		{"a name", "Bob <bob@example.org>", "bob@example.org"},
		{"a quoted name", `"Bob, <the> (Builder)" <bob@example.org>`, "bob@example.org"},
		{"a name with an escaped quote", `"Bob \" <x@y.example>" <bob@example.org>`, "bob@example.org"},
		{"an encoded name", "=?UTF-8?Q?B=C3=B6b?= <bob@example.org>", "bob@example.org"},
		{"a name with @", "bob@home <bob@example.org>", "bob@example.org"},
		{"a comment", "bob@example.org (Bob <x@y.example>)", "bob@example.org"},
		{"nested comments", "(a (b) c@d.example) bob@example.org", "bob@example.org"},
		{"several", "Bob <bob@example.org>, eve@example.org", "bob@example.org"},
		{"several bare", "bob@example.org,eve@example.org", "bob@example.org"},
		{"the first is no address", "Bob, eve@example.org", "eve@example.org"},
		{"the first is empty", "<>, eve@example.org", "eve@example.org"},
		{"a group", "team: bob@example.org, eve@example.org;", "bob@example.org"},
		{"an empty group", "undisclosed-recipients:;", ""},
		{"folded", "Bob\r\n <bob@example.org>", "bob@example.org"},
		{"a quoted local part", `"b o,b"@example.org`, `"b o,b"@example.org`},
		{"a quoted local part in brackets", `Bob <"b>o b"@example.org>`, `"b>o b"@example.org`},
		{"a source route", "<@a.example,@b.example:bob@example.org>", "bob@example.org"},
		{"blanks in brackets", "< bob@example.org >", "bob@example.org"},
		{"no domain in brackets", "Root <root>", "root"},
		{"no domain", "root", ""},
		{"two words", "bob bob@example.org", ""},
		{"no closing bracket", "Bob <bob@example.org", "bob@example.org"},
		{"an open quote", `"Bob <bob@example.org>`, ""},
		{"UTF-8", "B\u00f6b <b\u00f6b@b\u00fccher.example>", "b\u00f6b@b\u00fccher.example"},
		{"latin1", "B\xf6b <b\xf6b@example.org>", "b\u00f6b@example.org"},
		{"NUL", "<b\x00b@example.org>", ""},
		{"CR", "<b\rb@example.org>", ""},
		{"NUL, then an address", "<b\x00b@example.org, eve@example.org>", ""},
		{"too long, then an address", "<" + strings.Repeat("b", 1000) + ", eve@example.org>", ""},
		{"too long, the next is not", "<" + strings.Repeat("b", 1001) + ">, eve@example.org", "eve@example.org"},
		{"a backslash at the end", `<"\`, `"\`},
		{"empty", "", ""},
		{"the longest", "<" + strings.Repeat("b", 988) + "@example.org>", strings.Repeat("b", 988) + "@example.org"},
		{"too long", "<" + strings.Repeat("b", 989) + "@example.org>", ""},
	} {
		info := mailinfo.Parse([]byte("Reply-To: " + tt.field + "\r\nSENDER : " + tt.field + "\r\nReply-To: second@example.org\r\n\r\nSender: body@example.org\r\n"))
		if info.ReplyTo != tt.want {
			t.Errorf("%s: ReplyTo is %q, want %q", tt.name, info.ReplyTo, tt.want)
		}
		if info.Sender != tt.want {
			t.Errorf("%s: Sender is %q, want %q", tt.name, info.Sender, tt.want)
		}
	}
}

// TestMessageID: MessageID has no angle brackets and no comments.
func TestMessageID(t *testing.T) {
	for field, want := range map[string]string{
		" <1@example.org>":           "1@example.org",
		"<1@example.org> (comment)":  "1@example.org",
		"\r\n <1@example.org>":       "1@example.org",
		" 1@example.org":             "1@example.org",
		" 1 2":                       "1",
		" <no domain>":               "no domain",
		" <1@[192.0.2.1]>":           "1@[192.0.2.1]",
		" <1@example.org":            "1@example.org",
		" <>":                        "",
		"":                           "",
		" <1\x01@example.org>":       "",
		strings.Repeat("x", 1000):    strings.Repeat("x", 1000),
		strings.Repeat("x", 1001):    "",
		" x <1@example.org> <2@a.b>": "1@example.org",
	} {
		if got := mailinfo.Parse([]byte("Message-Id:" + field + "\r\n\r\n")).MessageID; got != want {
			t.Errorf("%q: MessageID is %q, want %q", field, got, want)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, field := range []string{`"a\"b" (c(d)) <@x:"e>f"@g.example>, h@i.example`, "a: b@c.example;", "<", `"`, "(", "\\", "\ufeff<\ufeff>"} {
		f.Add(field)
	}
	f.Fuzz(func(t *testing.T, field string) {
		check(t, []byte("Message-ID: "+field+"\r\nReply-To: "+field+"\r\nSender: "+field+"\r\n\r\n"))
	})
}
