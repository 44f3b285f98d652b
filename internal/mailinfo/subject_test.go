package mailinfo_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"goguerrillad/internal/mailinfo"
)

func subject(field string) string {
	return mailinfo.Parse([]byte("Subject:" + field + "\r\n\r\n")).Subject
}

func TestSubject(t *testing.T) {
	tests := []struct{ name, field, want string }{
		{"plain", " hello", "hello"},
		{"no blank", "hello", "hello"},
		{"empty", "", ""},
		{"blanks only", " \t ", ""},
		{"blanks around", "  \t a  b \t", "a  b"},
		{"folded", " a\r\n b\r\n  c", "a b  c"},
		{"folded at a tab", " a\r\n\tb", "a b"},
		{"folded to nothing", " a\r\n \r\n b", "a  b"},
		{"first line empty", "\r\n a", "a"},
		{"ended by LF", " a\n b", "a b"},
		{"NUL and CR", " a\x00b\rc", "a b c"},

		{"Q", " =?utf-8?Q?caf=C3=A9_=5F?=", "café _"},
		{"B", " =?UTF-8?B?Y2Fmw6k=?=", "café"},
		{"lower-case letters", " =?utf-8?b?Y2Fmw6k=?= =?utf-8?q?=c3=a9?=", "caféé"},
		{"empty words", " a =?utf-8?Q??= b =?utf-8?B??=", "a  b "},
		{"a language", " =?utf-8*en?Q?a?= =?utf-8*de-DE?B?Yg==?=", "ab"},
		{"blanks in the label", " =? utf-8 ?Q?a?=", "a"},
		{"blanks in the text", " =?utf-8?Q?a b\tc?= =?utf-8?B?Y2 Fm\tw6k=?=", "a b\tccafé"},
		{"no blanks around", " a=?utf-8?Q?b?=c=?utf-8?Q?d?==?utf-8?Q?e?=f", "abcdef"},
		{"blanks between words", " =?utf-8?Q?a?= \t =?utf-8?Q?b?=\r\n\t=?utf-8?Q?c?= d", "abc d"},
		{"text between words", " =?utf-8?Q?a?= + =?utf-8?Q?b?=", "a + b"},
		{"in quotes", ` "=?utf-8?Q?a?="`, `"a"`},
		{"a question mark", " =?utf-8?Q?why??=", "why?"},
		{"an equals sign at the end", " =?utf-8?Q?1+1=?=", "1+1="},
		{"a question mark and text", " =?utf-8?Q?what? now?=", "what? now"},

		{"a character in two words", " =?utf-8?B?w4M=?= =?utf-8?Q?=C3?= =?UTF8?B?qQ==?=", "Ãé"},
		{"a character in three words without blanks", " =?utf-8?Q?=F0=9F?==?utf-8?Q?=8E?==?utf-8?Q?=89?=", "🎉"},
		{"another charset between", " =?utf-8?Q?=C3?= =?iso-8859-1?Q?=E9?= =?utf-8?Q?=A9?=", "\ufffdé\ufffd"},
		{"text between the halves of a character", " =?utf-8?Q?=C3?= x =?utf-8?Q?=A9?=", "\ufffd x \ufffd"},
		{"two labels of one charset", " =?gb2312?B?xA==?= =?GBK?Q?=E3?=", "你"},
		{"iso-2022-jp, reset in each word", " =?iso-2022-jp?B?GyRCRnwbKEI=?= =?iso-2022-jp?B?GyRCS1wbKEI=?=", "日本"},
		{"iso-2022-jp, cut between escapes", " =?iso-2022-jp?B?GyRCRnw=?= =?iso-2022-jp?B?S1wbKEI=?=", "日本"},
		{"iso-8859-1 is windows-1252", " =?iso-8859-1?Q?=80=93?= =?us-ascii?Q?=99?=", "€“™"},
		{"utf-16 with byte order marks", " =?utf-16?B?/v8AZQDp?= x =?utf-16?B?//5lAOkA?= x =?utf-16be?B?AGUA6Q==?=", "eé x eé x eé"},
		{"half a surrogate", " =?utf-16le?B?PdhhAA==?=", "\ufffda"},
		{"utf-8 with a byte order mark", " =?utf-8?B?77u/YQ==?=", "a"},
		{"invalid utf-8", " =?utf-8?Q?a=FFb=C0=80c=ED=A0=80?=", "a\ufffdb\ufffd\ufffdc\ufffd\ufffd\ufffd"},
		{"coded line ends and NUL", " =?utf-8?Q?a=0D=0Ab=00c?= =?utf-8?B?Cg==?=d", "a  b c d"},
		{"line ends in utf-16", " =?utf-16be?B?AGEADQAKAAAAYg==?=", "a   b"},

		{"padding in the middle", " =?utf-8?B?YQ==Yg==?=", "ab"},
		{"padding missing", " =?utf-8?B?YWI?= =?utf-8?B?Y2Q?=", "abcd"},
		{"padding too long", " =?utf-8?B?YWI====?=", "ab"},
		{"one character too many", " =?utf-8?B?YWJjZ?=", "abc"},
		{"invalid base64", " =?utf-8?B?Y*W.I-=?=", "ab"},
		{"invalid Q", " =?utf-8?Q?=zz=4=?= =?utf-8?Q?=?=", "=zz=4=="},
		{"a digit at the end of Q", " =?utf-8?Q?a=4?=", "a=4"},
		{"8 bits in Q", " =?utf-8?Q?é?=", "é"},
		{"8 bits in Q, another charset", " =?koi8-r?Q?\xf0?=", "П"},

		{"unknown charset", " =?x-unknown?Q?a?= =?utf-8?Q?b?=  =?utf-7?B?YQ==?=", "=?x-unknown?Q?a?= b  =?utf-7?B?YQ==?="},
		{"forbidden charset", " =?utf-8?Q?a?= =?hz-gb-2312?Q?b?=", "a =?hz-gb-2312?Q?b?="},
		{"unknown encoding", " =?utf-8?X?a?= =?utf-8?Q?b?=", "=?utf-8?X?a?= b"},
		{"no end", " =?utf-8?Q?a =?utf-8?Q?b?= =?utf-8?B?", "=?utf-8?Q?a b =?utf-8?B?"},
		{"only question marks and equals signs", " =? ?= =?=?=?= =??Q?a?= =?utf-8?Q?", "=? ?= =?=?=?= =??Q?a?= =?utf-8?Q?"},
		{"decoded once", " =?utf-8?Q?=3D=3Futf-8=3FQ=3Fa=3F=3D?=", "=?utf-8?Q?a?="},

		{"raw utf-8", " grüße =?koi8-r?Q?=F0?= ß", "grüße П ß"},
		{"raw windows-1252", " gr\xfc\xdfe \x80 =?koi8-r?Q?=F0?= \x93", "grüße € П “"},
	}
	for _, tt := range tests {
		if got := subject(tt.field); got != tt.want {
			t.Errorf("%s: Subject:%q\ngot  %q\nwant %q", tt.name, tt.field, got, tt.want)
		}
	}
}

// TestCutWord: an encoded word that is cut anywhere stays as it is.
func TestCutWord(t *testing.T) {
	for _, word := range []string{"=?utf-8*en?Q?why??=", "=?utf-8?B?YQ==?="} {
		for n := range len(word) {
			if got := subject(" " + word[:n]); got != word[:n] {
				t.Errorf("%q was decoded to %q", word[:n], got)
			}
		}
	}
}

// TestRawSubject: a subject that is not UTF-8 is decoded with the charset of the first
// text part.
func TestRawSubject(t *testing.T) {
	tests := []struct{ contentType, want string }{
		{"text/plain; charset=koi8-r", "При"},
		{"text/plain; charset=utf-8", "\ufffd\ufffd\ufffd"},
		{"text/plain", "ðÒÉ"},
		{"text/plain; charset=x-unknown", "ðÒÉ"},
		{"text/plain; charset=utf-16", "ðÒÉ"},
		{"text/plain; charset=iso-2022-kr", "ðÒÉ"},
		{"application/pdf; charset=koi8-r", "ðÒÉ"},
	}
	for _, tt := range tests {
		got := mailinfo.Parse([]byte("Subject: \xf0\xd2\xc9\r\nContent-Type: " + tt.contentType + "\r\n\r\n"))
		if got.Subject != tt.want {
			t.Errorf("%s: subject %q, want %q", tt.contentType, got.Subject, tt.want)
		}
	}
}

// TestMostlyUTF8: invalid bytes in a subject or a file name do not affect the
// characters around them, if the text has more valid characters than such bytes.
func TestMostlyUTF8(t *testing.T) {
	const zazolc = "za\u017c\u00f3\u0142\u0107"
	tests := []struct{ raw, want string }{
		{"\u017c\u017c\xc5", "\u017c\u017c\ufffd"},
		{zazolc + "\xc5", zazolc + "\ufffd"},
		{"\xff" + zazolc, "\ufffd" + zazolc},
		{zazolc + "\xff\xfe\xc0" + zazolc, zazolc + "\ufffd\ufffd\ufffd" + zazolc},
		{"\U0001f389\u20ac \xa4", "\U0001f389\u20ac \ufffd"},
		{"\u20ac\u20ac\ufffd\xc5\xc5", "\u20ac\u20ac\ufffd\ufffd\ufffd"},
		{"\u017c\xc5", "\u0139\u017a\u0139"}, // no majority: the text's charset
		{"\xc5", "\u0139"},
		{"ascii \xb1", "ascii \u0105"},
		{"\xbf\xf3\xb3\xe6", "\u017c\u00f3\u0142\u0107"},
		{"=?utf-8?Q?a?= " + zazolc + "\xc5 =?utf-8?Q?b?=", "a " + zazolc + "\ufffd b"},
	}
	for _, tt := range tests {
		rest := "\r\nContent-Type: text/plain; charset=iso-8859-2\r\n\r\n"
		if got := mailinfo.Parse([]byte("Subject: " + tt.raw + rest)).Subject; got != tt.want {
			t.Errorf("Subject: %q: got %q, want %q", tt.raw, got, tt.want)
		}
		text := "--b" + rest + "x\r\n--b\r\n"
		for _, param := range []string{"filename=\"" + tt.raw + "\"", "filename*=''" + percent([]byte(tt.raw))} {
			if strings.Contains(param, "''") && strings.Contains(tt.raw, "=?") {
				continue
			}
			message := multi(text + "Content-Disposition: attachment; " + param + "\r\n\r\nabc")
			if got := names(message); got != tt.want+":3" {
				t.Errorf("%q: attachments %q, want %q", param, got, tt.want+":3")
			}
		}
	}
}

// TestRawISO2022JP: text in ISO-2022-JP, which has no 8-bit bytes, is decoded if the
// first text part has that charset.
func TestRawISO2022JP(t *testing.T) {
	const (
		nihon = "\x1b$BF|K\\\x1b(B"     // ends with a backslash
		comma = "\x1b$B!\"\\\"=?\x1b(B" // quotes, a backslash, and the start of an encoded word
	)
	tests := []struct{ charset, raw, want string }{
		{"iso-2022-jp", nihon, "\u65e5\u672c"},
		{"ISO-2022-JP", "Re: " + nihon + " a", "Re: \u65e5\u672c a"},
		{"csiso2022jp", nihon, "\u65e5\u672c"},
		{"iso-2022-jp", comma, "\u3001\u68e7\u620e"},
		{"iso-2022-jp", nihon + "\r\n " + nihon, "\u65e5\u672c \u65e5\u672c"},
		{"iso-2022-jp", nihon + " =?utf-8?Q?=C3=A9?= " + nihon, "\u65e5\u672c \u00e9 \u65e5\u672c"},
		{"iso-2022-jp", "\x1b$BF|K\\", "\u65e5\u672c"},
		{"iso-2022-jp", "plain", "plain"},
		{"iso-2022-jp", "\u65e5 \x1b[1m", "\u65e5 \x1b[1m"},
		{"utf-8", nihon, nihon},
		{"shift_jis", nihon, nihon},
	}
	for _, tt := range tests {
		rest := "\r\nContent-Type: text/plain; charset=" + tt.charset + "\r\n\r\n"
		if got := mailinfo.Parse([]byte("Subject: " + tt.raw + rest)).Subject; got != tt.want {
			t.Errorf("%s, Subject: %q: got %q, want %q", tt.charset, tt.raw, got, tt.want)
		}
		if !strings.HasSuffix(tt.raw, "(B") {
			continue
		}
		message := multi("--b" + rest + "x\r\n--b\r\nContent-Disposition: attachment; filename=\"" + tt.raw + "\"; size=3\r\n\r\nabc")
		if got := names(message); got != tt.want+":3" {
			t.Errorf("%s, filename=%q: attachments %q, want %q", tt.charset, tt.raw, got, tt.want+":3")
		}
	}
}

// TestCharsets tests all labels of the WHATWG Encoding standard, in upper and lower
// case.
func TestCharsets(t *testing.T) {
	data, err := os.ReadFile("testdata/charsets.json")
	if err != nil {
		t.Fatal(err)
	}
	var charsets []struct {
		Name, Bytes, Text string
		Labels            []string
	}
	if err := json.Unmarshal(data, &charsets); err != nil {
		t.Fatal(err)
	}
	labels := 0
	for _, c := range charsets {
		bytes, err := hex.DecodeString(c.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		for _, label := range c.Labels {
			labels++
			// Two words with different labels of the same charset.
			half := len(bytes) / 2
			field := fmt.Sprintf(" =?%s?B?%s?= =?%s?B?%s?=", strings.ToUpper(label),
				base64.StdEncoding.EncodeToString(bytes[:half]), c.Name, base64.StdEncoding.EncodeToString(bytes[half:]))
			if got := subject(field); got != c.Text {
				t.Errorf("%s: subject %q, want %q", label, got, c.Text)
			}
			info := mailinfo.Parse([]byte("Content-Disposition: attachment; filename*=" + label + "''" + percent(bytes) + "\r\n\r\n"))
			if len(info.Attachments) != 1 || info.Attachments[0].Name != c.Text {
				t.Errorf("%s: attachments %+v, want one with the name %q", label, info.Attachments, c.Text)
			}
		}
	}
	if labels < 220 {
		t.Errorf("%d labels in charsets.json, want at least 220", labels)
	}
}

func percent(bytes []byte) string {
	var b strings.Builder
	for _, c := range bytes {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

// TestLongSubject: the length of a subject is not limited.
func TestLongSubject(t *testing.T) {
	const n = 100_000
	word := "=?utf-8?B?" + base64.StdEncoding.EncodeToString([]byte("é")) + "?="
	tests := []struct{ name, field, want string }{
		{"words", " " + strings.Repeat(word+" ", n), strings.Repeat("é", n)},
		{"words on lines", strings.Repeat("\r\n "+word, n), strings.Repeat("é", n)},
		{"words in two charsets", " " + strings.Repeat("=?koi8-r?Q?=F0?= "+word+" ", n), strings.Repeat("Пé", n)},
		{"text", " " + strings.Repeat("0123456789", n), strings.Repeat("0123456789", n)},
		{"starts of words", " " + strings.Repeat("=?utf-8?Q?", n), strings.Repeat("=?utf-8?Q?", n)},
		{"unknown charset", " " + strings.Repeat("=?x?Q?a?=", n), strings.Repeat("=?x?Q?a?=", n)},
		{"equals signs and question marks", " " + strings.Repeat("=?", n), strings.Repeat("=?", n)},
		{"question marks", " =?utf-8?Q?" + strings.Repeat("?", n) + "=", strings.Repeat("?", n-1)},
	}
	for _, tt := range tests {
		if got := subject(tt.field); got != tt.want {
			t.Errorf("%s: wrong subject of %d bytes, want %d bytes", tt.name, len(got), len(tt.want))
		}
	}
}
