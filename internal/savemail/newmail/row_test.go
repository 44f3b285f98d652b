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

// columnsOf2012 are the columns of the table of 2012 that the daemon fills.
const columnsOf2012 = "date from to subject body charset mail spam_score hash content_type recipient has_attach ip_addr attach_info"

// table returns the columns with these names, separated by blanks, without limits
// except for the given columns, which replace those with the same name.
func table(t testing.TB, names string, special ...newmail.Column) *newmail.Columns {
	t.Helper()
	var all []newmail.Column
	for name := range strings.FieldsSeq(names) {
		c := newmail.Column{Name: name}
		if i := slices.IndexFunc(special, func(c newmail.Column) bool { return c.Name == name }); i >= 0 {
			c = special[i]
		}
		all = append(all, c)
	}
	columns, err := newmail.NewColumns(all)
	if err != nil {
		t.Fatal(err)
	}
	return columns
}

// columns returns the columns of 2012 without limits, except for the given column.
func columns(t testing.TB, c newmail.Column) *newmail.Columns {
	t.Helper()
	return table(t, columnsOf2012, c)
}

// values returns the values of a row by column. The message is "mail" and the date
// "now".
func values(t testing.TB, c *newmail.Columns, e *envelope.Envelope, compress bool) map[string]any {
	t.Helper()
	row, err := c.Row(e, compress)
	if err != nil {
		t.Fatal(err)
	}
	var to envelope.Recipient
	if len(e.To) > 0 {
		to = e.To[0]
	}
	args := row.Append(nil, "now", &to, []byte("mail"))
	all := map[string]any{}
	for _, target := range c.Targets() {
		if target.Kind != newmail.Zero {
			all[target.Name], args = args[0], args[1:]
		}
	}
	if len(args) > 0 {
		t.Fatalf("Append returned %d values more than there are columns", len(args))
	}
	return all
}

// compareValues reports the columns that differ.
func compareValues(t *testing.T, what string, got, want map[string]any) {
	t.Helper()
	for name := range maps.All(got) {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: column %s is set", what, name)
		}
	}
	for name, w := range want {
		if g, ok := got[name]; !ok || !reflect.DeepEqual(g, w) {
			t.Errorf("%s: %s is %#v, want %#v", what, name, g, w)
		}
	}
}

// subject returns a subject as the column holds it.
func subject(t testing.TB, c newmail.Column, value string) string {
	t.Helper()
	return values(t, columns(t, c), &envelope.Envelope{Info: mailinfo.Info{Subject: value}}, false)["subject"].(string)
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

// full returns an envelope with a value for each column.
func full() *envelope.Envelope {
	return &envelope.Envelope{
		From: "from", To: []envelope.Recipient{{Address: "to", Hash: "hash"}}, Remote: netip.MustParseAddrPort("192.0.2.1:25"),
		Helo: "helo", TLS: "tls", Login: "login", Proxy: "proxy",
		Info: mailinfo.Info{
			Subject: "subject", Charset: "charset", ContentType: "content/type", MessageID: "message-id", ReplyTo: "reply-to", Sender: "sender",
			Attachments: []mailinfo.Attachment{{Name: "a", Type: "b/c", Size: 1}},
		},
	}
}

// TestRow: each column that the table has gets its own value, and the table needs only
// the columns mail, hash, and to or recipient.
func TestRow(t *testing.T) {
	message := strings.Repeat("x", 1234)
	all := map[string]any{
		"date": "now", "from": "from", "to": "to", "subject": "subject", "body": "", "charset": "charset", "mail": []byte("mail"), "hash": "hash",
		"content_type": "content/type", "recipient": "to", "has_attach": 1, "ip_addr": "192.0.2.1", "attach_info": `[{"name":"a","type":"b/c","size":1}]`,
		"message_id": "message-id", "reply_to": "reply-to", "sender": "sender", "return_path": "from", "is_tls": 1,
		"helo": "helo", "size": len(message), "tls": "tls", "login": "login", "proxy": "proxy",
	}
	e := full()
	e.SetMessage([]byte(message), 0)
	for _, names := range []string{
		"mail hash to", "recipient hash mail", "HASH Mail TO Size", columnsOf2012,
		"mail_id " + columnsOf2012 + " delivered dkim_valid mine", strings.Join(slices.Collect(maps.Keys(all)), " "),
	} {
		want := map[string]any{}
		for name := range strings.FieldsSeq(names) {
			if v, known := all[strings.ToLower(name)]; known {
				want[name] = v
			}
		}
		compareValues(t, names, values(t, table(t, names), e, false), want)
	}
	// A message without these values.
	got := values(t, table(t, strings.Join(slices.Collect(maps.Keys(all)), " ")), &envelope.Envelope{}, false)
	for name, v := range got {
		if name != "date" && name != "mail" && name != "attach_info" && v != "" && v != 0 {
			t.Errorf("without values: %s is %#v", name, v)
		}
	}
}

// TestForm: body names the form of mail, by the name that the table's readers know, and
// a message stays plain in the table if body cannot.
func TestForm(t *testing.T) {
	const later = "mail hash to body return_path is_tls message_id"
	inRedis := full()
	inRedis.To[0].InRedis = true
	for _, tt := range []struct {
		names      string
		special    newmail.Column
		body       any    // of a compressed message
		inRedis    string // mail of a message in Redis
		compresses bool
	}{
		{columnsOf2012, newmail.Column{}, newmail.BodyZlib, "", true},
		{later, newmail.Column{}, newmail.BodyGzip, "", true},
		{later + " charset", newmail.Column{}, newmail.BodyZlib, "", true},
		{"mail hash to body", newmail.Column{}, newmail.BodyZlib, "", true},
		{"mail hash to", newmail.Column{}, nil, "mail", false},
		{columnsOf2012, newmail.Column{Name: "body", Chars: 8}, newmail.BodyZlib, "", true},
		{columnsOf2012, newmail.Column{Name: "body", Chars: 7}, "", "", false},
		{later, newmail.Column{Name: "body", Chars: 5}, newmail.BodyGzip, "", true},
		{later, newmail.Column{Name: "body", Chars: 4}, newmail.BodyGzip, "mail", true},
		{columnsOf2012, newmail.Column{Name: "mail", Charset: sets["utf8mb4"]}, "", "", false},
	} {
		what := fmt.Sprintf("columns %s, %+v", tt.names, tt.special)
		c := table(t, tt.names, tt.special)
		if row, err := c.Row(full(), true); err != nil || row.Compressed != tt.compresses {
			t.Errorf("%s: Compressed is not %v, error %v", what, tt.compresses, err)
		}
		if got := values(t, c, full(), true)["body"]; got != tt.body {
			t.Errorf("%s: body is %#v, want %#v", what, got, tt.body)
		}
		got := values(t, c, inRedis, true)
		if string(got["mail"].([]byte)) != tt.inRedis || tt.inRedis == "" && got["body"] != newmail.BodyRedis {
			t.Errorf("%s: in Redis, mail is %q and body %#v, want mail %q", what, got["mail"], got["body"], tt.inRedis)
		}
	}
}

// TestOtherType: the daemon leaves a column of another type than its values to the
// operator.
func TestOtherType(t *testing.T) {
	for name, types := range map[string]string{"tls": "tinyint(1) bit(1) datetime enum('a') set('a') json uuid",
		"size": "datetime inet6 json", "sender": "bigint point multipoint geometry", "is_tls": "timestamp enum('0','1') set('tls')", "proxy": "inet4 inet6",
		"has_attach": "enum('0','1')"} {
		for kind := range strings.FieldsSeq(types) {
			c := table(t, "mail hash to "+name, newmail.Column{Name: name, Type: kind, Required: true})
			if got, ok := values(t, c, full(), false)[name]; ok {
				t.Errorf("%s %s: got %#v, want no value", name, kind, got)
			}
			if got := c.Unfilled(); !slices.Equal(got, []string{name}) {
				t.Errorf("%s %s: Unfilled is %q", name, kind, got)
			}
		}
	}
	for name, kind := range map[string]string{"tls": "varchar(64)", "size": "varchar(20)", "is_tls": "bit(1)", "sender": "tinytext"} {
		if _, ok := values(t, table(t, "mail hash to "+name, newmail.Column{Name: name, Type: kind}), full(), false)[name]; !ok {
			t.Errorf("%s %s: no value", name, kind)
		}
	}
}

// TestNumbers: a number that is too large for its column becomes the largest number of
// the column.
func TestNumbers(t *testing.T) {
	e := full()
	e.SetMessage(make([]byte, 1000), 0)
	for limit, want := range map[int64]int{0: 1000, 1001: 1000, 1000: 1000, 999: 999, 1: 1, newmail.Nothing: 0} {
		if got := values(t, table(t, "mail hash to size", newmail.Column{Name: "size", Max: limit}), e, false)["size"]; got != want {
			t.Errorf("largest number %d: got %v, want %d", limit, got, want)
		}
	}
	c := table(t, "mail hash to is_tls", newmail.Column{Name: "is_tls", Type: "char(0)", Chars: newmail.Nothing})
	if got, ok := values(t, c, e, false)["is_tls"]; ok {
		t.Errorf("char(0): got %v, want no value", got)
	}
}

// TestUnfilled: Unfilled returns the columns that need a value from another program.
func TestUnfilled(t *testing.T) {
	c := table(t, "mail hash to mine yours subject", newmail.Column{Name: "mine", Required: true},
		newmail.Column{Name: "yours"}, newmail.Column{Name: "subject", Required: true})
	if got := c.Unfilled(); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("got %q, want mine", got)
	}
}

// TestShortHash: a hash is neither cut nor converted. A server accepts some hashes as a
// uuid.
func TestShortHash(t *testing.T) {
	for _, hash := range []newmail.Column{{Name: "hash", Chars: 31}, {Name: "hash", Bytes: 16}, {Name: "hash", Chars: newmail.Nothing},
		{Name: "hash", Type: "uuid"}, {Name: "hash", Type: "bigint"}} {
		if _, err := newmail.NewColumns([]newmail.Column{{Name: "mail"}, {Name: "to"}, hash}); err == nil || err.Error() != "the column hash cannot hold 32 characters" {
			t.Errorf("%+v: got %v, want the column hash", hash, err)
		}
	}
}

// TestClientAddress: ip_addr has neither port nor zone, and is cut to its column. A
// varbinary(16) holds the bytes of the address.
func TestClientAddress(t *testing.T) {
	for _, test := range []struct {
		remote, want string
		width        int64
		packed       []byte
	}{
		{"192.0.2.1:25", "192.0.2.1", 15, []byte{192, 0, 2, 1}},
		{"[::ffff:192.0.2.1]:25", "192.0.2.1", 15, []byte{192, 0, 2, 1}},
		{"[fe80::1%eth0]:25", "fe80::1", 15, []byte("\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01")},
		{"[2001:db8:1:2:3:4:5:6]:25", "2001:db8:1:2:3:4:5:6", 45, []byte("\x20\x01\x0d\xb8\x00\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00\x06")},
		{"[2001:db8:1:2:3:4:5:6]:25", "2001:db8:1:2:3:", 15, nil},
		{"", "", 15, []byte{}},
	} {
		e := &envelope.Envelope{}
		if test.remote != "" {
			e.Remote = netip.MustParseAddrPort(test.remote)
		}
		c := columns(t, newmail.Column{Name: "ip_addr", Chars: test.width, Charset: sets["utf8mb3"]})
		if got := values(t, c, e, false)["ip_addr"]; got != test.want {
			t.Errorf("%s in %d characters: got %q, want %q", test.remote, test.width, got, test.want)
		}
		c = columns(t, newmail.Column{Name: "ip_addr", Type: "varbinary(16)", Chars: 16, Bytes: 16})
		if got := values(t, c, e, false)["ip_addr"]; test.packed != nil && !reflect.DeepEqual(got, test.packed) {
			t.Errorf("%s packed: got %x, want %x", test.remote, got, test.packed)
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
			row := values(t, c, &envelope.Envelope{Info: mailinfo.Info{Attachments: list}}, false)
			text := row["attach_info"].(string)
			var got []mailinfo.Attachment
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatalf("%s, %d bytes: %q: %v", charset, bytes, text, err)
			}
			for i := range got {
				if got[i] != list[i] {
					t.Errorf("%s: %+v, want %+v", charset, got[i], list[i])
				}
			}
			if row["has_attach"] != 1 {
				t.Errorf("has_attach is %v, want 1", row["has_attach"])
			}
			seen[len(got)] = true
		}
		if len(seen) != 5 {
			t.Errorf("%s: the lists have the lengths %v, want 0 to 4", charset, slices.Sorted(maps.Keys(seen)))
		}
	}
}

// TestMissingColumns: the error names the columns that are missing and needed.
func TestMissingColumns(t *testing.T) {
	for names, want := range map[string]string{
		"HASH from":      "mail, to or recipient",
		"":               "mail, hash, to or recipient",
		"mail to":        "hash",
		"hash recipient": "mail",
		"hash mail":      "to or recipient",
	} {
		var all []newmail.Column
		for name := range strings.FieldsSeq(names) {
			all = append(all, newmail.Column{Name: name})
		}
		if _, err := newmail.NewColumns(all); err == nil || err.Error() != "the table lacks the columns "+want {
			t.Errorf("the columns %q: got %v, want %s", names, err, want)
		}
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
