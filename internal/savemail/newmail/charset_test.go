package newmail_test

import (
	"errors"
	"testing"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// TestPrintable: Printable keeps only printable ASCII in a value, except in a recipient.
func TestPrintable(t *testing.T) {
	const value, want = "\x1f !~\x7f\u0080\u00fc", "? !~???"
	for _, set := range []string{"", "utf8mb4", "latin1"} {
		for _, name := range []string{"from", "subject", "charset", "content_type", "recipient"} {
			c := columns(t, newmail.Column{Name: name, Charset: sets[set]}).Printable()
			row, err := c.Row(&envelope.Envelope{
				From: value, To: []envelope.Recipient{{Address: "\u00fc@example.com"}},
				Info: mailinfo.Info{Subject: value, Charset: value, ContentType: value},
			}, false)
			if err != nil || row.From != want || row.Subject != want || row.Charset != want || row.ContentType != want {
				t.Errorf("%s of %q: %+v, %v", name, set, row, err)
			}
		}
	}
	c := columns(t, newmail.Column{Name: "subject", Charset: sets["swe7"]}).Printable()
	if row, err := c.Row(&envelope.Envelope{Info: mailinfo.Info{Subject: "[x] ~\x7f"}}, false); err != nil || row.Subject != "?x] ~?" {
		t.Errorf("a set without a bracket: %q, %v", row.Subject, err)
	}
}

// TestCharset: a column of another set than UTF-8 has its name, in any case of the
// column's name.
func TestCharset(t *testing.T) {
	for set, want := range map[string]string{"": "", "utf8mb4": "", "utf8mb3": "", "latin1": "latin1", "ucs2": "ucs2"} {
		c := columns(t, newmail.Column{Name: "subject", Charset: sets[set]})
		if got := c.Charset("Subject"); got != want {
			t.Errorf("%q: %q, want %q", set, got, want)
		}
		if got := c.Charset("from") + c.Charset("none"); got != "" {
			t.Errorf("%q: other columns have the set %q", set, got)
		}
	}
}

// TestEqual: two tables are equal if all columns are.
func TestEqual(t *testing.T) {
	most := func(r rune) bool { return r < 0x100 }
	one := newmail.Column{Name: "subject", Chars: 1, Bytes: 2, Charset: newmail.NewCharset("latin1", 1, most, false)}
	for _, tt := range []struct {
		name  string
		other newmail.Column
		want  bool
	}{
		{"the same", one, true},
		{"an equal set", newmail.Column{Name: "subject", Chars: 1, Bytes: 2, Charset: newmail.NewCharset("latin1", 1, most, false)}, true},
		{"characters", newmail.Column{Name: "subject", Chars: 2, Bytes: 2, Charset: one.Charset}, false},
		{"bytes", newmail.Column{Name: "subject", Chars: 1, Bytes: 1, Charset: one.Charset}, false},
		{"no set", newmail.Column{Name: "subject", Chars: 1, Bytes: 2}, false},
		{"name of the set", newmail.Column{Name: "subject", Chars: 1, Bytes: 2, Charset: newmail.NewCharset("latin2", 1, most, false)}, false},
		{"width of the set", newmail.Column{Name: "subject", Chars: 1, Bytes: 2, Charset: newmail.NewCharset("latin1", 2, most, false)}, false},
		{"other planes", newmail.Column{Name: "subject", Chars: 1, Bytes: 2, Charset: newmail.NewCharset("latin1", 1, most, true)}, false},
		{"one character", newmail.Column{Name: "subject", Chars: 1, Bytes: 2, Charset: newmail.NewCharset("latin1", 1, func(r rune) bool { return r <= 0x100 }, false)}, false},
		{"the whole plane", newmail.Column{Name: "subject", Chars: 1, Bytes: 2, Charset: newmail.NewCharset("latin1", 1, nil, false)}, false},
		{"another column", newmail.Column{Name: "from", Chars: 1, Bytes: 2, Charset: one.Charset}, false},
	} {
		a, b := columns(t, one), columns(t, tt.other)
		if a.Equal(b) != tt.want || b.Equal(a) != tt.want {
			t.Errorf("%s: %v and %v, want %v", tt.name, a.Equal(b), b.Equal(a), tt.want)
		}
	}
	var unknown *newmail.Columns
	if !unknown.Equal(nil) || unknown.Equal(columns(t, one)) || columns(t, one).Equal(unknown) {
		t.Error("columns that are not known equal known ones, or not each other")
	}
}

// TestMailColumn: how many bytes fit the column mail, and how text is stored in it.
func TestMailColumn(t *testing.T) {
	for _, tt := range []struct {
		charset string
		isText  bool
		most    int64  // bytes of a message that fit 12 bytes of the column
		text    string // what is stored of the message below
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
			t.Errorf("%q is text: %v", tt.charset, !tt.isText)
		}
		for n, fits := range map[int64]bool{0: true, tt.most - 1: true, tt.most: true, tt.most + 1: false} {
			if err := c.CheckMail(n); (err == nil) != fits || err != nil && !errors.Is(err, savemail.ErrRejected) {
				t.Errorf("%d bytes in 12 bytes of %q: %v", n, tt.charset, err)
			}
		}
		if !tt.isText {
			continue
		}
		if got := string(c.MailText([]byte("a\xff\ufffd\u00fc\U0001F600z"))); got != tt.text {
			t.Errorf("%q: %+q, want %+q", tt.charset, got, tt.text)
		}
	}
	if err := columns(t, newmail.Column{Name: "mail"}).CheckMail(1 << 40); err != nil {
		t.Errorf("no limit: %v", err)
	}
}
