package mailinfo

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/unicode"
)

// lookup returns the encoding that a label of the WHATWG Encoding list names,
// or nil. The labels that the list has only to forbid them (its "replacement")
// count as unknown.
func lookup(label string) encoding.Encoding {
	enc, err := htmlindex.Get(label)
	if err != nil || enc == encoding.Replacement {
		return nil
	}
	return enc
}

// fallback returns how bytes that nothing describes are read in a message whose
// text has that label; "" when it has none.
func fallback(label string) encoding.Encoding {
	enc := lookup(label)
	if enc == nil || isUTF16(enc) { // a header is never in UTF-16
		return charmap.Windows1252
	}
	return enc
}

func isUTF16(enc encoding.Encoding) bool {
	return enc == utf16(unicode.LittleEndian) || enc == utf16(unicode.BigEndian)
}

// utf16 returns the encoding as lookup does.
func utf16(order unicode.Endianness) encoding.Encoding {
	return unicode.UTF16(order, unicode.IgnoreBOM)
}

// decode returns text in valid UTF-8, with U+FFFD for what enc does not have.
// A byte order mark goes first, as the list's own "decode" has it, but only
// where one belongs.
func decode(enc encoding.Encoding, text []byte) string {
	if isUTF16(enc) {
		switch {
		case bytes.HasPrefix(text, []byte("\xfe\xff")):
			enc, text = utf16(unicode.BigEndian), text[2:]
		case bytes.HasPrefix(text, []byte("\xff\xfe")):
			enc, text = utf16(unicode.LittleEndian), text[2:]
		}
	}
	if enc == unicode.UTF8 {
		text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
		if utf8.Valid(text) {
			return string(text)
		}
	}
	return strings.ToValidUTF8(string(decodeStandard(enc, text)), "\uFFFD")
}

// decodeRaw returns text that no charset is given for: UTF-8 where it is UTF-8 or
// mostly UTF-8, else what enc makes of it. ISO-2022-JP has only ASCII's bytes:
// there, escape sequences show that text is not ASCII.
func decodeRaw(text []byte, enc encoding.Encoding) string {
	switch {
	case enc == japanese.ISO2022JP && bytes.IndexByte(text, esc) >= 0 && isASCII(text):
	case utf8.Valid(text):
		return string(text)
	case mostlyUTF8(text):
		enc = unicode.UTF8
	}
	return decode(enc, text)
}

// esc begins the escape sequences of ISO-2022-JP.
const esc = 0x1b

func isASCII(text []byte) bool {
	for _, c := range text {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// mostlyUTF8 reports whether text has more characters of several bytes in UTF-8
// than bytes that are not UTF-8. Text in another charset hardly ever does; text
// in UTF-8 that was cut at a byte does.
func mostlyUTF8(text []byte) bool {
	balance := 0
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case size > 1:
			balance++
		case r == utf8.RuneError:
			balance--
		}
		text = text[size:]
	}
	return balance > 0
}

// bom is the byte order mark in UTF-8.
const bom = "\ufeff"

// oneLine makes a blank of each character that would end a line or a string,
// and drops byte order marks. A mark can be anywhere, since senders encode the
// parts of a text one by one.
func oneLine(s string) string {
	if !strings.ContainsAny(s, "\r\n\x00"+bom) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '\r', '\n', 0:
			return ' '
		case '\ufeff':
			return -1
		}
		return r
	}, s)
}
