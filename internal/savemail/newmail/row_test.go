package newmail_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// columns returns all columns without limits, except for the given column.
func columns(t testing.TB, c newmail.Column) *newmail.Columns {
	t.Helper()
	var all []newmail.Column
	for _, name := range newmail.Written() {
		if name == c.Name {
			all = append(all, c)
		} else {
			all = append(all, newmail.Column{Name: name})
		}
	}
	columns, err := newmail.NewColumns(all)
	if err != nil {
		t.Fatal(err)
	}
	return columns
}

// compareRows reports the fields that differ.
func compareRows(t *testing.T, what string, got, want newmail.Row) {
	t.Helper()
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range g.NumField() {
		if got, want := g.Field(i).Interface(), w.Field(i).Interface(); got != want {
			t.Errorf("%s: %s is %#v, want %#v", what, g.Type().Field(i).Name, got, want)
		}
	}
}

// subject returns a subject as the column holds it.
func subject(t testing.TB, c newmail.Column, value string) string {
	t.Helper()
	e := &envelope.Envelope{Info: mailinfo.Info{Subject: value}}
	row, err := columns(t, c).Row(e, false)
	if err != nil {
		t.Fatal(err)
	}
	return row.Subject
}

// sets are character sets as a server may report them.
var sets = map[string]*newmail.Charset{
	"":        nil,
	"utf8mb4": newmail.NewCharset("utf8mb4", 0, nil, true),
	"utf8mb3": newmail.NewCharset("utf8mb3", 0, nil, false),
	"ucs2":    newmail.NewCharset("ucs2", 2, func(rune) bool { return true }, false),
	"utf32":   newmail.NewCharset("utf32", 4, nil, true),
	"latin1":  newmail.NewCharset("latin1", 1, func(r rune) bool { return r < 0x100 || r == '\u20ac' }, false),
	"ascii":   newmail.NewCharset("ascii", 1, func(r rune) bool { return r < 0x80 }, false),
	"gbk":     newmail.NewCharset("gbk", 2, func(r rune) bool { return r < 0x80 || r >= 0x4e00 && r < 0xa000 }, false),
	"swe7":    newmail.NewCharset("swe7", 1, func(r rune) bool { return r < 0x80 && r != '@' && r != '[' }, false),
}

// TestFitting: a value is cut to the length of its column, and '?' replaces each
// character that the column's set lacks.
func TestFitting(t *testing.T) {
	const mixed = "a\u00fc\u20ac\u4e2d\U0001F600z"
	for _, test := range []struct {
		charset      string
		chars, bytes int64
		value, want  string
	}{
		// One '?' replaces one character.
		{"", 0, 0, mixed, mixed},
		{"utf8mb4", 0, 0, mixed, mixed},
		{"utf8mb3", 0, 0, mixed, "a\u00fc\u20ac\u4e2d?z"},
		{"latin1", 0, 0, mixed, "a\u00fc\u20ac??z"},
		{"ascii", 0, 0, mixed, "a????z"},
		{"ascii", 0, 0, "\u00fc\u4e2d", "??"},
		{"gbk", 0, 0, mixed, "a??\u4e2d?z"},
		{"ucs2", 0, 0, mixed, "a\u00fc\u20ac\u4e2d?z"},
		{"swe7", 0, 0, "[x] a@b", "?x] a?b"},
		{"utf32", 0, 0, mixed, mixed},
		// The ends of ASCII and of the first plane.
		{"utf8mb3", 0, 0, "\x7f\u0080\uffff\U00010000", "\x7f\u0080\uffff?"},
		{"ucs2", 0, 0, "\x7f\u0080\uffff\U00010000", "\x7f\u0080\uffff?"},
		{"ascii", 0, 0, "\x7f\u0080\uffff\U00010000", "\x7f???"},
		{"utf8mb3", 0, 3, "aaaa", "aaa"},
		// Character types have a limit in characters.
		{"utf8mb4", 3, 0, mixed, "a\u00fc\u20ac"},
		{"latin1", 3, 0, mixed, "a\u00fc\u20ac"},
		{"utf8mb3", 5, 0, mixed, "a\u00fc\u20ac\u4e2d?"},
		{"utf8mb4", 5, 0, "abcdef", "abcde"},
		{"utf8mb4", 6, 0, "abcdef", "abcdef"},
		// Text types have a limit in bytes. No character is split.
		{"utf8mb4", 0, 3, "aaaa", "aaa"},
		{"utf8mb4", 0, 5, mixed, "a\u00fc"},
		{"utf8mb4", 0, 6, mixed, "a\u00fc\u20ac"},
		{"utf8mb4", 0, 12, mixed, "a\u00fc\u20ac\u4e2d"},
		{"utf8mb4", 0, 13, mixed, "a\u00fc\u20ac\u4e2d\U0001F600"},
		{"ucs2", 0, 7, "abcd", "abc"},
		{"gbk", 0, 5, "abcd", "ab"},
		{"latin1", 0, 3, "\u00fc\u00fc\u00fc\u00fc", "\u00fc\u00fc\u00fc"},
		{"utf32", 0, 8, "\u00fcbc", "\u00fcb"},
		{"", 4, 4, "a\u00fcbc", "a\u00fcb"}, // varbinary
		// U+FFFD replaces bytes that are not UTF-8.
		{"utf8mb4", 0, 0, "a\xff\xc3", "a\uFFFD\uFFFD"},
		{"utf8mb4", 0, 0, "a\x80", "a\uFFFD"},
		{"latin1", 0, 0, "", ""},
	} {
		c := newmail.Column{Name: "subject", Chars: test.chars, Bytes: test.bytes, Charset: sets[test.charset]}
		if got := subject(t, c, test.value); got != test.want {
			t.Errorf("%s of %d characters, %d bytes: %q becomes %q, want %q",
				test.charset, test.chars, test.bytes, test.value, got, test.want)
		}
	}
}

// TestFits: Fits and Row refuse a recipient that a column cannot hold unchanged.
func TestFits(t *testing.T) {
	for i, test := range []struct {
		column  newmail.Column
		address string
		want    string // enhanced code
	}{
		{newmail.Column{Name: "to"}, strings.Repeat("x", 1000), ""},
		{newmail.Column{Name: "to", Chars: 5, Bytes: 5, Charset: sets["latin1"]}, "a@b.c", ""},
		{newmail.Column{Name: "to", Chars: 5, Bytes: 5, Charset: sets["latin1"]}, "aa@b.c", "5.1.3"},
		{newmail.Column{Name: "recipient", Chars: 5, Bytes: 5, Charset: sets["latin1"]}, "aa@b.c", "5.1.3"},
		{newmail.Column{Name: "to", Chars: 5, Bytes: 15, Charset: sets["utf8mb3"]}, "\u4e2d@b.c", ""},
		{newmail.Column{Name: "to", Chars: 5, Bytes: 15, Charset: sets["utf8mb3"]}, "\U0001F600@b.c", "5.6.7"},
		{newmail.Column{Name: "recipient", Chars: 50, Charset: sets["latin1"]}, "\u4e2d@b.c", "5.6.7"},
		{newmail.Column{Name: "to", Chars: 65535, Bytes: 5, Charset: sets["utf8mb4"]}, "\u00fc@b.c", "5.1.3"},
		{newmail.Column{Name: "to", Chars: 50, Charset: sets["gbk"]}, "\u4e2d@b.c", ""},
		{newmail.Column{Name: "to", Chars: 50, Charset: sets["gbk"]}, "\u00fc@b.c", "5.6.7"},
		{newmail.Column{Name: "to", Chars: 50, Charset: sets["swe7"]}, "a@b.c", "5.6.7"},
		{newmail.Column{Name: "to", Chars: 50, Charset: sets["swe7"]}, "postmaster", ""},
		{newmail.Column{Name: "to"}, "\xff@b.c", "5.6.7"},
	} {
		c := columns(t, test.column)
		got := ""
		if r := c.Fits(test.address); r != nil {
			got = r.Enhanced
			if r.Code != 553 {
				t.Errorf("%s: code %d, want 553", test.address, r.Code)
			}
		}
		if got != test.want {
			t.Errorf("case %d, %s in the column %s: code %q, want %q", i, test.address, test.column.Name, got, test.want)
		}
		_, err := c.Row(&envelope.Envelope{To: []envelope.Recipient{{Address: test.address}}}, false)
		if (test.want != "") != errors.Is(err, savemail.ErrRejected) {
			t.Errorf("case %d, %s in the column %s: Row returns the error %v, want ErrRejected: %v", i, test.address, test.column.Name, err, test.want != "")
		}
	}
	var unknown *newmail.Columns
	if r := unknown.Fits(strings.Repeat("\u4e2d", 1000)); r != nil {
		t.Errorf("unknown columns: got %v, want nil", r)
	}
}

// TestRow: each value is in its own field, and Body names the compression.
func TestRow(t *testing.T) {
	e := &envelope.Envelope{
		From: "from", To: []envelope.Recipient{{Address: "to"}}, Remote: netip.MustParseAddrPort("192.0.2.1:25"),
		Info: mailinfo.Info{Subject: "subject", Charset: "charset", ContentType: "content/type"},
	}
	want := newmail.Row{From: "from", Subject: "subject", Charset: "charset", ContentType: "content/type", IP: "192.0.2.1", AttachInfo: "[]"}
	for compress, body := range map[bool]string{false: newmail.BodyPlain, true: newmail.BodyZlib} {
		want.Body = body
		row, err := columns(t, newmail.Column{}).Row(e, compress)
		if err != nil {
			t.Fatal(err)
		}
		compareRows(t, fmt.Sprintf("compressed %v", compress), row, want)
	}
}

// TestClientAddress: IP has neither port nor zone, and is cut to its column.
func TestClientAddress(t *testing.T) {
	for _, test := range []struct {
		remote, want string
		width        int64
	}{
		{"192.0.2.1:25", "192.0.2.1", 15},
		{"[::ffff:192.0.2.1]:25", "192.0.2.1", 15},
		{"[fe80::1%eth0]:25", "fe80::1", 15},
		{"[2001:db8:1:2:3:4:5:6]:25", "2001:db8:1:2:3:4:5:6", 45},
		{"[2001:db8:1:2:3:4:5:6]:25", "2001:db8:1:2:3:", 15},
		{"", "", 15},
	} {
		e := &envelope.Envelope{}
		if test.remote != "" {
			e.Remote = netip.MustParseAddrPort(test.remote)
		}
		row, err := columns(t, newmail.Column{Name: "ip_addr", Chars: test.width, Charset: sets["utf8mb3"]}).Row(e, false)
		if err != nil || row.IP != test.want {
			t.Errorf("%s in %d characters: got %q, error %v, want %q", test.remote, test.width, row.IP, err, test.want)
		}
	}
}

// TestAttachInfo: a list that is too long for the column loses its last entries and
// remains valid JSON.
func TestAttachInfo(t *testing.T) {
	list := []mailinfo.Attachment{
		{Name: "\u00fc\u4e2d\U0001F600.txt", Type: "text/plain", Size: 1},
		{Name: `a"\b`, Type: "a/b", Size: 2},
		{Name: "", Type: "c/d", Size: 3},
		{Name: "\x7f\u0080\uffff\U00010000", Type: "e/f", Size: 4},
	}
	for _, charset := range []string{"", "utf8mb4", "utf8mb3", "latin1", "ascii", "ucs2"} {
		seen := map[int]bool{}
		for bytes := range int64(1000) {
			c := columns(t, newmail.Column{Name: "attach_info", Chars: 65535, Bytes: bytes + 4, Charset: sets[charset]})
			row, err := c.Row(&envelope.Envelope{Info: mailinfo.Info{Attachments: list}}, false)
			if err != nil {
				t.Fatal(err)
			}
			var got []mailinfo.Attachment
			if err := json.Unmarshal([]byte(row.AttachInfo), &got); err != nil {
				t.Fatalf("%s, %d bytes: %q: %v", charset, bytes, row.AttachInfo, err)
			}
			for i := range got {
				if got[i] != list[i] {
					t.Errorf("%s: %+v, want %+v", charset, got[i], list[i])
				}
			}
			if row.HasAttach != 1 {
				t.Errorf("HasAttach is %d, want 1", row.HasAttach)
			}
			seen[len(got)] = true
		}
		if len(seen) != 5 {
			t.Errorf("%s: the lists have the lengths %v, want 0 to 4", charset, slices.Sorted(maps.Keys(seen)))
		}
	}
}

// TestMissingColumns: the error names the missing columns. Names match in any case.
func TestMissingColumns(t *testing.T) {
	_, err := newmail.NewColumns([]newmail.Column{{Name: "HASH"}, {Name: "from"}})
	if err == nil || !strings.Contains(err.Error(), "date, to, subject") || strings.Contains(err.Error(), "hash") {
		t.Errorf("got %v, want an error that names date, to, subject, but not hash", err)
	}
}

// FuzzFitting: a fitted value is valid UTF-8 within the column, and has the
// characters of the value, or '?', in their order.
func FuzzFitting(f *testing.F) {
	for _, charset := range []string{"", "utf8mb4", "utf8mb3", "latin1", "ascii", "ucs2", "utf32", "gbk"} {
		f.Add("a\u00fc\u4e2d\U0001F600\xff\x00", charset, uint16(4), uint16(9))
		f.Add(strings.Repeat("x", 300), charset, uint16(255), uint16(765))
	}
	f.Fuzz(func(t *testing.T, value, charset string, chars, bytes uint16) {
		c := newmail.Column{Name: "subject", Chars: int64(chars), Bytes: int64(bytes), Charset: sets[charset]}
		got := subject(t, c, value)
		n := utf8.RuneCountInString(got)
		if !utf8.ValidString(got) || chars > 0 && n > int(chars) {
			t.Fatalf("%q becomes %q", value, got)
		}
		if again := subject(t, c, got); again != got {
			t.Errorf("%q becomes %q, which becomes %q", value, got, again)
		}
		want := []rune(value)
		for i, r := range []rune(got) {
			if r != want[i] && r != '?' {
				t.Errorf("%q becomes %q", value, got)
			}
		}
		if chars == 0 && bytes == 0 && n != len(want) {
			t.Errorf("%q becomes %q", value, got)
		}
	})
}
