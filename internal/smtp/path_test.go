package smtp_test

import (
	"strings"
	"testing"

	"goguerrillad/internal/smtp"
)

// pathTest is an argument and the expected results of its parser.
type pathTest struct {
	arg     string
	local   string
	domain  string
	params  string
	refusal string // code and enhanced code; "" for none
}

func checkPaths(t *testing.T, parse func(string) (smtp.Path, string, *smtp.Reply), cases []pathTest) {
	t.Helper()
	for _, c := range cases {
		p, params, refusal := parse(c.arg)
		checkRefusal(t, c.arg, refusal, c.refusal)
		if p.Local != c.local || p.Domain != c.domain {
			t.Errorf("%q: local part %q and domain %q, want %q and %q", c.arg, p.Local, p.Domain, c.local, c.domain)
		}
		if params != c.params {
			t.Errorf("%q: parameters %q, want %q", c.arg, params, c.params)
		}
	}
}

func TestParseReversePath(t *testing.T) {
	local256, local257 := strings.Repeat("l", 256), strings.Repeat("l", 257)
	domain255 := strings.Repeat("d.", 127) + "d"
	checkPaths(t, smtp.ParseReversePath, []pathTest{
		{"FROM:<a@b.example>", "a", "b.example", "", ""},
		{"FROM:<a@b.example> SIZE=1 BODY=7BIT", "a", "b.example", "SIZE=1 BODY=7BIT", ""},
		{"FROM:<>", "", "", "", ""},
		{"FROM:<> SIZE=1", "", "", "SIZE=1", ""},

		// Keyword in any case, blanks where real senders write them.
		{"from:<a@b>", "a", "b", "", ""},
		{"From: \t<a@b>\t  X ", "a", "b", "X", ""},
		{" FROM :<a@b>", "a", "b", "", ""},
		{"FROM:< a@b >", "a", "b", "", ""},
		{"FROM:< >", "", "", "", ""},

		// No brackets.
		{"FROM:a@b", "a", "b", "", ""},
		{"FROM: a@b SIZE=1", "a", "b", "SIZE=1", ""},
		{"FROM:a=1@b X=2", "a=1", "b", "X=2", ""},
		{`FROM:"a b"@c X`, `"a b"`, "c", "X", ""},
		{"FROM:root", "root", "", "", ""},
		{"FROM: SIZE=1", "", "", "", "501 5.5.4"}, // no path

		// A sender without a domain.
		{"FROM:<root>", "root", "", "", ""},
		{`FROM:<"the root">`, `"the root"`, "", "", ""},
		{"FROM:<root@>", "", "", "", "501 5.1.7"},
		{"FROM:<@b>", "", "", "", "501 5.1.7"},
		{"FROM:<@>", "", "", "", "501 5.1.7"},

		// Local parts: all characters of an atom, dots at any place, quoted strings.
		{"FROM:<!#$%&'*+-/=?^_`{|}~09azAZ@b>", "!#$%&'*+-/=?^_`{|}~09azAZ", "b", "", ""},
		{"FROM:<.a..b.@docomo.example>", ".a..b.", "docomo.example", "", ""},
		{"FROM:<SRS0=x=y=a.example=u@b>", "SRS0=x=y=a.example=u", "b", "", ""},
		{`FROM:<"a\"b\\c>d@e <f"@g>`, `"a\"b\\c>d@e <f"`, "g", "", ""},
		{`FROM:<""@b>`, `""`, "b", "", ""},
		{`FROM:<"a"b@c>`, "", "", "", "501 5.1.7"},
		{`FROM:<a"b"@c>`, "", "", "", "501 5.1.7"},
		{`FROM:<a\@b@c>`, "", "", "", "501 5.1.7"},
		{"FROM:<a b@c>", "", "", "", "501 5.1.7"},
		{"FROM:<a@b@c>", "", "", "", "501 5.1.7"},
		{"FROM:<(a)b@c>", "", "", "", "501 5.1.7"},
		{"FROM:<a,b@c>", "", "", "", "501 5.1.7"},

		// Domains.
		{"FROM:<a@localhost>", "a", "localhost", "", ""},
		{"FROM:<a@B-1.Example>", "a", "B-1.Example", "", ""},
		{"FROM:<a@_dmarc.-b-.1>", "a", "_dmarc.-b-.1", "", ""},
		{"FROM:<a@b.example.>", "a", "b.example", "", ""},
		{"FROM:<a@b..>", "", "", "", "501 5.1.7"},
		{"FROM:<a@b..c>", "", "", "", "501 5.1.7"},
		{"FROM:<a@.b>", "", "", "", "501 5.1.7"},
		{"FROM:<a@.>", "", "", "", "501 5.1.7"},
		{"FROM:<a@b c>", "", "", "", "501 5.1.7"},
		{"FROM:<a@b!c>", "", "", "", "501 5.1.7"},
		{`FROM:<a@"b">`, "", "", "", "501 5.1.7"},

		// Address literals.
		{"FROM:<a@[192.0.2.1]>", "a", "[192.0.2.1]", "", ""},
		{"FROM:<a@[IPv6:2001:db8::1]>", "a", "[IPv6:2001:db8::1]", "", ""},
		{"FROM:<a@[ipv6:::ffff:192.0.2.1]>", "a", "[ipv6:::ffff:192.0.2.1]", "", ""},
		{"FROM:<a@[x-400:c=de;a=%]>", "a", "[x-400:c=de;a=%]", "", ""},
		{"FROM:<a@[2001:db8::1]>", "a", "[2001:db8::1]", "", ""}, // 2001 is a tag
		{"FROM:<a@[192.0.2]>", "", "", "", "501 5.1.7"},
		{"FROM:<a@[192.0.2.256]>", "", "", "", "501 5.1.7"},
		{"FROM:<a@[::1]>", "", "", "", "501 5.1.7"},
		{"FROM:<a@[tag:!~]>", "a", "[tag:!~]", "", ""}, // the ends of dcontent
		{"FROM:<a@[tag:!\x7f]>", "", "", "", "501 5.1.7"},
		{"FROM:<a@[IPv6:192.0.2.1]>", "", "", "", "501 5.1.7"},
		{"FROM:<a@[IPv6:fe80::1%eth0]>", "", "", "", "501 5.1.7"},
		{"FROM:<a@[example.com]>", "", "", "", "501 5.1.7"},
		{"FROM:<a@[192.0.2.1].>", "", "", "", "501 5.1.7"},
		{"FROM:<a@[192.0.2.1>", "", "", "", "501 5.1.7"},
		{"FROM:<a@[]>", "", "", "", "501 5.1.7"},
		{"FROM:<a@[>", "", "", "", "501 5.1.7"},
		{"FROM:<a@[x-:y]>", "", "", "", "501 5.1.7"},
		{"FROM:<a@[x:]>", "", "", "", "501 5.1.7"},
		{"FROM:<a@[x:y[z]>", "", "", "", "501 5.1.7"},
		{"FROM:<a@[x:y>]>", "", "", "", "501 5.1.7"},
		{"FROM:a@[x:y>]", "", "", "", "501 5.1.7"},

		// Source routes.
		{"FROM:<@a:u@c>", "u", "c", "", ""},
		{"FROM:<@a,@b.example:u@c> X", "u", "c", "X", ""},
		{"FROM:<@[IPv6:::1],@b:u@[192.0.2.1]>", "u", "[192.0.2.1]", "", ""},
		{"FROM:@a:u@c", "u", "c", "", ""},
		{"FROM:<@a,u@c>", "", "", "", "501 5.1.7"},
		{"FROM:<@a,b:u@c>", "", "", "", "501 5.1.7"},
		{"FROM:<@a,@:u@c>", "", "", "", "501 5.1.7"},
		{"FROM:<@:u@c>", "", "", "", "501 5.1.7"},
		{"FROM:<@a u@c>", "", "", "", "501 5.1.7"},
		{"FROM:<@[::1:u@c>", "", "", "", "501 5.1.7"},
		{"FROM:<@a:>", "", "", "", "501 5.1.7"},
		{"FROM:<@a,>", "", "", "", "501 5.1.7"},
		{"FROM:<@a:@b:u@c>", "", "", "", "501 5.1.7"},

		// Lengths.
		{"FROM:<" + local256 + "@" + domain255 + ">", local256, domain255, "", ""},
		{"FROM:<" + local257 + "@b>", "", "", "", "501 5.1.7"},
		{"FROM:<a@" + domain255 + "d>", "", "", "", "501 5.1.7"},
		{"FROM:<a@[x:" + strings.Repeat("y", 252) + "]>", "", "", "", "501 5.1.7"},

		// Unbalanced brackets and quotes, and no blank after the path.
		{"FROM:<a@b", "", "", "", "501 5.1.7"},
		{"FROM:<", "", "", "", "501 5.1.7"},
		{"FROM:a@b>", "", "", "", "501 5.1.7"},
		{"FROM:<<a@b>>", "", "", "", "501 5.1.7"},
		{"FROM:>a@b<", "", "", "", "501 5.1.7"},
		{`FROM:<"a@b>`, "", "", "", "501 5.1.7"},
		{`FROM:<a@b">`, "", "", "", "501 5.1.7"},
		{`FROM:<"a\"@b>`, "", "", "", "501 5.1.7"},
		{`FROM:"a\`, "", "", "", "501 5.1.7"},
		{"FROM:<a@b>SIZE=1", "", "", "", "501 5.1.7"},
		{"FROM:<a@b>,<c@d>", "", "", "", "501 5.1.7"},
		{"FROM:<>x", "", "", "", "501 5.1.7"},
		{"FROM:Name<a@b>", "", "", "", "501 5.1.7"},

		// Control characters.
		{"FROM:<a\x00@b>", "", "", "", "501 5.1.7"},
		{"FROM:<a@b\r>", "", "", "", "501 5.1.7"},
		{"FROM:<a@b\n.example>", "", "", "", "501 5.1.7"},
		{"FROM:<\"a\tb\"@c>", "", "", "", "501 5.1.7"},
		{"FROM:<\"a\\\nb\"@c>", "", "", "", "501 5.1.7"},
		{"FROM:<a\x7f@b>", "", "", "", "501 5.1.7"},
		{"FROM:<a\u0085@b>", "", "", "", "501 5.1.7"},
		{"FROM:<a@b\u2028c>", "", "", "", "501 5.1.7"},
		{"FROM:<a\u00a0b@c>", "", "", "", "501 5.1.7"},

		// Non-ASCII.
		{"FROM:<björn@bücher.example>", "björn", "bücher.example", "", ""},
		{`FROM:<"б б"@例え.テスト> SMTPUTF8`, `"б б"`, "例え.テスト", "SMTPUTF8", ""},
		{"FROM:<bj\xf6rn@b>", "", "", "", "553 5.6.7"},
		{"FROM:<a@b\xc3>", "", "", "", "553 5.6.7"},
		{"FROM:<\xed\xa0\x80@b>", "", "", "", "553 5.6.7"}, // half of a surrogate pair

		// No path.
		{"", "", "", "", "501 5.5.4"},
		{"FROM", "", "", "", "501 5.5.4"},
		{"FROM:", "", "", "", "501 5.5.4"},
		{"FROM <a@b>", "", "", "", "501 5.5.4"},
		{"TO:<a@b>", "", "", "", "501 5.5.4"},
		{"<a@b>", "", "", "", "501 5.5.4"},
		{":<a@b>", "", "", "", "501 5.5.4"},
		{"FRO M:<a@b>", "", "", "", "501 5.5.4"},
	})
}

func TestParseForwardPath(t *testing.T) {
	checkPaths(t, smtp.ParseForwardPath, []pathTest{
		{"TO:<a@b.example>", "a", "b.example", "", ""},
		{"to: <a@b> NOTIFY=NEVER", "a", "b", "NOTIFY=NEVER", ""},
		{"TO:a@b ORCPT=x", "a", "b", "ORCPT=x", ""},
		{"TO:<@a,@b:u@c>", "u", "c", "", ""},

		// Only the postmaster needs no domain.
		{"TO:<postmaster>", "postmaster", "", "", ""},
		{"TO:<PostMaster> X", "PostMaster", "", "X", ""},
		{"TO:postmaster", "postmaster", "", "", ""},
		{"TO:<postmaster@b>", "postmaster", "b", "", ""},
		{"TO:<postmaste>", "", "", "", "501 5.1.3"},
		{"TO:<poſtmaster>", "", "", "", "501 5.1.3"},
		{"TO:<root> X", "", "", "", "501 5.1.3"},
		{"TO:root", "", "", "", "501 5.1.3"},

		// No recipient.
		{"TO:<>", "", "", "", "501 5.1.3"},
		{"TO:< > X", "", "", "", "501 5.1.3"},
		{"TO:", "", "", "", "501 5.5.4"},
		{"TO: NOTIFY=NEVER", "", "", "", "501 5.5.4"},
		{"FROM:<a@b>", "", "", "", "501 5.5.4"},

		// Malformed paths.
		{"TO:<a@b", "", "", "", "501 5.1.3"},
		{"TO:<a@b>x", "", "", "", "501 5.1.3"},
		{"TO:<a@b..c>", "", "", "", "501 5.1.3"},
		{"TO:<a@@b>", "", "", "", "501 5.1.3"},
		{"TO:<a\x01@b>", "", "", "", "501 5.1.3"},
		{"TO:<\xff@b>", "", "", "", "553 5.6.7"},
	})
}

func TestPath(t *testing.T) {
	for _, c := range []struct {
		path  smtp.Path
		text  string
		ascii bool
	}{
		{smtp.Path{}, "", true},
		{smtp.Path{Local: "postmaster"}, "postmaster", true},
		{smtp.Path{Local: `"a b"`, Domain: "c.example"}, `"a b"@c.example`, true},
		{smtp.Path{Local: "ä", Domain: "c"}, "ä@c", false},
		{smtp.Path{Local: "a", Domain: "ç"}, "a@ç", false},
	} {
		if got := c.path.String(); got != c.text {
			t.Errorf("%+v.String() = %q, want %q", c.path, got, c.text)
		}
		if got := c.path.ASCII(); got != c.ascii {
			t.Errorf("%+v.ASCII() = %v, want %v", c.path, got, c.ascii)
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"<a@b.example> SIZE=1", "<>", "a@b X", `<"a\"b >"@[192.0.2.1]>`, "<@a,@[IPv6:::1]:u@c.>", "< postmaster >",
		"<björn@bücher.example>", "<\xff@\x00>", "<a@[x:y]> ", "a@[O:r})99]", `<" \b&>"@[1:<7.81]>`, "root", "=", `"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		fuzzPath(t, "FROM:", arg, smtp.ParseReversePath)
		fuzzPath(t, "TO:", arg, smtp.ParseForwardPath)
	})
}

// fuzzPath checks the properties of an accepted path.
func fuzzPath(t *testing.T, keyword, arg string, parse func(string) (smtp.Path, string, *smtp.Reply)) {
	p, params, refusal := parse(keyword + arg)
	if refusal != nil {
		if p != (smtp.Path{}) || params != "" || refusal.Code != 501 && refusal.Code != 553 {
			t.Errorf("%q: path %+q, parameters %q with refusal %v", arg, p, params, refusal)
		}
		return
	}
	text := p.String()
	bare := p.Local
	if strings.HasPrefix(bare, `"`) {
		bare = "" // a quoted string may have any printable character
	}
	domain := p.Domain
	if strings.HasPrefix(domain, "[") {
		// An address literal may have any printable character except brackets and \.
		domain = strings.Trim(strings.Map(func(r rune) rune {
			if strings.ContainsRune("\"()@:,", r) {
				return 'x'
			}
			return r
		}, domain), "[]")
	}
	switch {
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 }),
		strings.ContainsAny(bare, " \"(),:;<>@[\\]"),
		strings.ContainsAny(domain, " \"()<>@\\[]:,"),
		params != strings.Trim(params, " \t"),
		!strings.Contains(arg, p.Local), !strings.Contains(arg, p.Domain),
		p.ASCII() != !strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 }),
		keyword == "TO:" && p.Domain == "" && !strings.EqualFold(text, "postmaster"):
		t.Errorf("%q: path %+q, parameters %q", arg, p, params)
	}
	for _, again := range []string{"<" + text + ">", "<@x.example,@[192.0.2.1]:" + text + ">", text} {
		if text == "" && again != "<>" || p.Domain == "" && strings.Contains(text, "=") {
			continue // not a valid argument
		}
		if p2, params, refusal := parse(keyword + again + " X=Y"); p2 != p || params != "X=Y" || refusal != nil {
			t.Errorf("%q: path %+q is parsed as %+q, %q, %v", arg, p, p2, params, refusal)
		}
	}
}

func BenchmarkParsePath(b *testing.B) {
	for b.Loop() {
		if _, _, refusal := smtp.ParseForwardPath("TO:<somebody.long+tag@mail.example.com> NOTIFY=NEVER"); refusal != nil {
			b.Fatal(refusal)
		}
	}
	b.ReportAllocs()
}
