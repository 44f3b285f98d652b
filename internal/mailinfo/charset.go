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

// lookup returns the encoding that has the label in the WHATWG Encoding
// standard, or nil. For the labels of the standard's
// "replacement" encoding, which are labels of unsafe encodings, it returns nil.
func lookup(label string) encoding.Encoding {
	enc, err := htmlindex.Get(label)
	if err != nil || enc == encoding.Replacement {
		return nil
	}
	return enc
}

// fallback returns the encoding of bytes without a charset. label is the charset
// label of the message's first text part, or "".
func fallback(label string) encoding.Encoding {
	enc := lookup(label)
	if enc == nil || isUTF16(enc) { // a header cannot contain UTF-16
		return charmap.Windows1252
	}
	return enc
}

func isUTF16(enc encoding.Encoding) bool {
	return enc == utf16(unicode.LittleEndian) || enc == utf16(unicode.BigEndian)
}

// utf16 returns the same value as lookup does for UTF-16 in that byte order.
func utf16(order unicode.Endianness) encoding.Encoding {
	return unicode.UTF16(order, unicode.IgnoreBOM)
}

// decode converts text to valid UTF-8, with U+FFFD for invalid bytes. It removes
// a leading byte order mark, as the standard's "decode" does, if the mark fits
// enc. In UTF-16, the mark selects the byte order.
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

// decodeRaw decodes text without a charset: as UTF-8 if it is UTF-8 or mostly
// UTF-8, else by enc. ISO-2022-JP uses only ASCII bytes, so an escape sequence
// shows that the text is not UTF-8.
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

// esc starts the escape sequences of ISO-2022-JP.
const esc = 0x1b

func isASCII(text []byte) bool {
	for _, c := range text {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// mostlyUTF8 reports whether text has more multi-byte UTF-8 characters than
// invalid bytes. That is true of UTF-8 that was cut inside a character, and
// almost never true of text in another charset.
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

// oneLine replaces CR, LF and NUL with blanks and removes byte order marks. A
// mark can be anywhere, since some senders encode the parts of a text separately.
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
