package e2e

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// values generates messages with random values.
type values struct{ *rand.Rand }

// blocks are ranges of characters: controls, the byte order mark, noncharacters, and
// characters of several planes.
var blocks = [][2]rune{
	{0x20, 0x7e}, {0x20, 0x7e}, {0x01, 0x1f}, {0x7f, 0x9f}, {0xa0, 0xff}, {0x100, 0x24f}, {0x300, 0x36f}, {0x370, 0x3ff}, {0x400, 0x4ff},
	{0x590, 0x6ff}, {0xe00, 0xe7f}, {0x1e00, 0x1eff}, {0x2000, 0x206f}, {0x20a0, 0x20bf}, {0x2190, 0x22ff}, {0x2500, 0x257f}, {0x3000, 0x30ff},
	{0x4e00, 0x9fff}, {0xac00, 0xd7a3}, {0xe000, 0xf8ff}, {0xfdd0, 0xfdef}, {0xfef0, 0xffff}, {0x1f300, 0x1faff}, {0x20000, 0x2a6df}, {0x10fff0, 0x10ffff},
}

// text returns up to n allowed characters from three random blocks.
func (v values) text(n int, allowed func(rune) bool) string {
	chosen := [3][2]rune{}
	for i := range chosen {
		chosen[i] = blocks[v.IntN(len(blocks))]
	}
	var s strings.Builder
	for range v.IntN(n + 1) {
		b := chosen[v.IntN(len(chosen))]
		if r := b[0] + rune(v.IntN(int(b[1]-b[0]+1))); utf8.ValidRune(r) && allowed(r) {
			s.WriteRune(r)
		}
	}
	return s.String()
}

// bytes returns up to n random bytes, which are usually not valid UTF-8.
func (v values) bytes(n int, allowed func(rune) bool) string {
	var s []byte
	for range v.IntN(n + 1) {
		if b := byte(v.IntN(256)); b >= 0x80 || allowed(rune(b)) {
			s = append(s, b)
		}
	}
	return string(s)
}

// labels are names of character sets, among them unknown ones. The last is not ASCII.
var labels = []string{"utf-8", "us-ascii", "iso-8859-1", "iso-8859-7", "windows-1251", "windows-1258", "koi8-r", "gb18030", "gbk", "big5",
	"euc-jp", "shift_jis", "iso-2022-jp", "euc-kr", "utf-16le", "utf-7", "x-user-defined", "nothing", "\xff"}

// field returns the value of a header field: as UTF-8, as bytes of any character set,
// or as encoded words.
func (v values) field(n int) string {
	inField := func(r rune) bool { return r != '\r' && r != '\n' }
	switch v.IntN(4) {
	case 0:
		return v.text(n, inField)
	case 1:
		return v.bytes(n, inField)
	case 2:
		return v.text(n/2, inField) + " =?utf-8?q?" + strings.ReplaceAll(v.text(n/2, inField), " ", "_") + "?="
	}
	var words []string
	for range 1 + v.IntN(4) {
		words = append(words, "=?"+labels[v.IntN(len(labels))]+"?B?"+base64.StdEncoding.EncodeToString([]byte(v.bytes(n/4, func(rune) bool { return true })))+"?=")
	}
	return strings.Join(words, " ")
}

// fileName returns the parameter filename or filename* of Content-Disposition.
func (v values) fileName() string {
	switch v.IntN(3) {
	case 0:
		return `filename="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v.field(200)) + `"`
	case 1:
		var coded strings.Builder
		for _, b := range []byte(v.field(200)) {
			fmt.Fprintf(&coded, "%%%02X", b)
		}
		return "filename*=" + labels[v.IntN(len(labels)-1)] + "''" + coded.String()
	}
	return "filename=" + v.bytes(30, func(r rune) bool { return r > ' ' && r != ';' })
}

// message returns a message with a random subject, a random text and up to three
// attachments with random names. It ends with the token, which must be ASCII.
func (v values) message(token string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "Subject: %s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/%s; boundary=xyz\r\n\r\n", v.field(600), v.bytes(20, isToken))
	fmt.Fprintf(&s, "--xyz\r\nContent-Type: text/plain; charset=\"%s\"\r\n\r\n%s\r\n",
		strings.NewReplacer(`\`, "", `"`, "").Replace(v.field(60)), v.bytes(300, func(r rune) bool { return r != '\r' && r != '\n' }))
	for range v.IntN(4) {
		fmt.Fprintf(&s, "--xyz\r\nContent-Type: application/%s\r\nContent-Disposition: attachment; %s\r\n\r\nfile\r\n", v.bytes(20, isToken), v.fileName())
	}
	return s.String() + "--xyz--\r\n" + token + "\r\n"
}

func isToken(r rune) bool { return 'a' <= r && r <= 'z' || r == '-' }

// mailbox returns an address of example.com with a random local part that RFC 5321,
// section 4.1.2, or RFC 6531, section 3.3, allows.
func (v values) mailbox() string {
	wide := v.IntN(2) == 0
	allowed := func(r rune) bool { return wide && r > 0x9f && !unicode.IsSpace(r) || r < 0x80 && r > ' ' }
	atom := func(r rune) bool {
		return allowed(r) && !strings.ContainsRune("()<>[]:;@\\,.\"\x7f", r)
	}
	var local string
	if v.IntN(2) == 0 {
		local = v.text(20, atom) + "x." + v.text(20, atom) + "y"
		for limit := 64; len(local) > limit; {
			local = local[:len(local)-1]
			if !utf8.ValidString(local) || strings.HasSuffix(local, ".") {
				limit = len(local) - 1
			}
		}
	} else {
		quoted := func(r rune) bool { return (allowed(r) || r == ' ') && r != 0x7f }
		for _, r := range v.text(40, quoted) {
			s := string(r)
			if r == '"' || r == '\\' || r < 0x7f && v.IntN(8) == 0 {
				s = `\` + s
			}
			if len(local)+len(s) <= 62 {
				local += s
			}
		}
		local = `"` + local + `"`
	}
	return local + "@" + []string{"example.com", "EXAMPLE.com", "eXample.COM"}[v.IntN(3)]
}

// mailboxes returns up to n different addresses.
func (v values) mailboxes(n int) []string {
	var all []string
	for range 1 + v.IntN(n) {
		if m := v.mailbox(); !slices.Contains(all, m) {
			all = append(all, m)
		}
	}
	return all
}

// isASCII reports whether s has only ASCII characters, so needs no SMTPUTF8.
func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}
