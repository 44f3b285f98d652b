package newmail_test

import (
	"errors"
	"fmt"
	"testing"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// TestPrintable: with Printable, '?' replaces each character of a value that is not
// printable ASCII. A recipient does not change.
func TestPrintable(t *testing.T) {
	const value, printable = "\x1f !~\x7f\u0080\u00fc", "? !~???"
	for _, set := range []string{"", "utf8mb4", "latin1"} {
		for _, name := range []string{"from", "subject", "charset", "content_type", "recipient"} {
			e := &envelope.Envelope{
				From: value, To: []envelope.Recipient{{Address: "\u00fc@example.com"}},
				Info: mailinfo.Info{Subject: value, Charset: value, ContentType: value},
			}
			want := values(t, columns(t, newmail.Column{}), e, false)
			for _, fitted := range []string{"from", "subject", "charset", "content_type"} {
				want[fitted] = printable
			}
			c := columns(t, newmail.Column{Name: name, Charset: sets[set]}).Printable()
			compareValues(t, fmt.Sprintf("column %s with the set %q", name, set), values(t, c, e, false), want)
		}
	}
	c := columns(t, newmail.Column{Name: "subject", Charset: sets["swe7"]}).Printable()
	e := &envelope.Envelope{Info: mailinfo.Info{Subject: "[x] ~\x7f"}}
	if got := values(t, c, e, false)["subject"]; got != "?x] ~?" {
		t.Errorf("a set without a bracket: got %q, want %q", got, "?x] ~?")
	}
}

// TestTargets: a target names the character set of its column, unless the set is UTF-8.
func TestTargets(t *testing.T) {
	for set, want := range map[string]string{"": "", "utf8mb4": "", "utf8mb3": "", "latin1": "latin1", "ucs2": "ucs2"} {
		for _, target := range columns(t, newmail.Column{Name: "subject", Charset: sets[set]}).Targets() {
			if target.Name != "subject" && target.Charset != "" || target.Name == "subject" && target.Charset != want {
				t.Errorf("the set %q of subject: the target is %+v", set, target)
			}
		}
	}
}

// TestEqual: two tables are equal if all their columns are.
func TestEqual(t *testing.T) {
	latin1 := func(r rune) bool { return r < 0x100 }
	one := newmail.Column{Name: "subject", Chars: 1, Bytes: 2, Charset: newmail.NewCharset("latin1", 1, latin1, false)}
	for _, tt := range []struct {
		name  string
		other newmail.Column
		want  bool
	}{
		{"the same", one, true},
		{"an equal set", newmail.Column{Name: "subject", Chars: 1, Bytes: 2, Charset: newmail.NewCharset("latin1", 1, latin1, false)}, true},
		{"characters", newmail.Column{Name: "subject", Chars: 2, Bytes: 2, Charset: one.Charset}, false},
		{"bytes", newmail.Column{Name: "subject", Chars: 1, Bytes: 1, Charset: one.Charset}, false},
		{"no set", newmail.Column{Name: "subject", Chars: 1, Bytes: 2}, false},
		{"name of the set", newmail.Column{Name: "subject", Chars: 1, Bytes: 2, Charset: newmail.NewCharset("latin2", 1, latin1, false)}, false},
		{"width of the set", newmail.Column{Name: "subject", Chars: 1, Bytes: 2, Charset: newmail.NewCharset("latin1", 2, latin1, false)}, false},
		{"other planes", newmail.Column{Name: "subject", Chars: 1, Bytes: 2, Charset: newmail.NewCharset("latin1", 1, latin1, true)}, false},
		{"one character", newmail.Column{Name: "subject", Chars: 1, Bytes: 2, Charset: newmail.NewCharset("latin1", 1, func(r rune) bool { return r <= 0x100 }, false)}, false},
		{"the whole plane", newmail.Column{Name: "subject", Chars: 1, Bytes: 2, Charset: newmail.NewCharset("latin1", 1, nil, false)}, false},
		{"type", newmail.Column{Name: "subject", Type: "text", Chars: 1, Bytes: 2, Charset: one.Charset}, false},
		{"required", newmail.Column{Name: "subject", Required: true, Chars: 1, Bytes: 2, Charset: one.Charset}, false},
		{"another column", newmail.Column{Name: "from", Chars: 1, Bytes: 2, Charset: one.Charset}, false},
	} {
		a, b := columns(t, one), columns(t, tt.other)
		if a.Equal(b) != tt.want || b.Equal(a) != tt.want {
			t.Errorf("%s: a.Equal(b) is %v and b.Equal(a) %v, want %v", tt.name, a.Equal(b), b.Equal(a), tt.want)
		}
	}
	var unknown *newmail.Columns
	if !unknown.Equal(nil) || unknown.Equal(columns(t, one)) || columns(t, one).Equal(unknown) {
		t.Error("unknown columns (nil) are equal to known columns, or not equal to nil")
	}
}

// TestMailColumn: CheckMail accepts a message up to the bytes of the column mail, and
// MailText replaces what a column of text cannot hold.
func TestMailColumn(t *testing.T) {
	for _, tt := range []struct {
		charset string
		isText  bool
		most    int64  // bytes of the largest message in a column of 12 bytes
		text    string // MailText of the message below
	}{
		{"", false, 12, ""},
		{"latin1", false, 12, ""},
		{"swe7", false, 12, ""},
		{"ascii", true, 12, "a????z"},
		{"utf8mb4", true, 12, "a?\ufffd\u00fc\U0001F600z"},
		{"utf8mb3", true, 12, "a?\ufffd\u00fc?z"},
		{"ucs2", true, 6, "a?\ufffd\u00fc?z"},
		{"utf32", true, 3, "a?\ufffd\u00fc\U0001F600z"},
	} {
		c := columns(t, newmail.Column{Name: "mail", Bytes: 12, Charset: sets[tt.charset]})
		if c.MailIsText() != tt.isText {
			t.Errorf("%q: MailIsText is %v, want %v", tt.charset, c.MailIsText(), tt.isText)
		}
		for n, fits := range map[int64]bool{0: true, tt.most - 1: true, tt.most: true, tt.most + 1: false} {
			if err := c.CheckMail(n); (err == nil) != fits || err != nil && !errors.Is(err, savemail.ErrRejected) {
				t.Errorf("%d bytes in 12 bytes of %q: error %v, want an error: %v", n, tt.charset, err, !fits)
			}
		}
		if !tt.isText {
			continue
		}
		if got := string(c.MailText([]byte("a\xff\ufffd\u00fc\U0001F600z"))); got != tt.text {
			t.Errorf("%q: MailText is %+q, want %+q", tt.charset, got, tt.text)
		}
	}
	if err := columns(t, newmail.Column{Name: "mail"}).CheckMail(1 << 40); err != nil {
		t.Errorf("a column without limit: %v", err)
	}
}
