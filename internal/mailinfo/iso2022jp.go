package mailinfo

import (
	"slices"
	"unicode/utf8"

	"golang.org/x/text/encoding/japanese"
)

// The character sets of ISO-2022-JP.
const (
	setASCII = iota
	setRoman
	setKatakana
	setJIS0208
)

// decodeISO2022JP decodes text as the WHATWG Encoding standard requires.
func decodeISO2022JP(text []byte) []byte {
	var (
		out   = make([]byte, 0, len(text)+len(text)/2)
		table = japanese.EUCJP.NewDecoder() // has all characters of setJIS0208
		set   = setASCII
		empty = false // no byte since the last escape sequence
	)
	for len(text) > 0 {
		c, n, r := text[0], 1, rune(utf8.RuneError)
		if to, ok := escapeSequence(text); ok {
			if empty {
				out = append(out, "\uFFFD"...)
			}
			set, empty = to, true
			text = text[escapeSize:]
			continue
		}
		empty = false
		switch {
		case c == esc, c >= utf8.RuneSelf:
		case set == setASCII, set == setRoman:
			switch {
			case c == 0x0e, c == 0x0f:
			case set == setRoman && c == '\\':
				r = '¥'
			case set == setRoman && c == '~':
				r = '‾'
			default:
				r = rune(c)
			}
		case set == setKatakana:
			if between(0x21, c, 0x5f) {
				r = 0xff61 - 0x21 + rune(c)
			}
		case !between(0x21, c, 0x7e):
		case len(text) > 1 && text[1] == esc: // starts an escape sequence
		case len(text) > 1:
			n = 2
			if between(0x21, text[1], 0x7e) {
				var ok bool
				if out, ok = appendCharacter(out, table, []byte{c | 0x80, text[1] | 0x80}); ok {
					text = text[n:]
					continue
				}
			}
		}
		out = utf8.AppendRune(out, r)
		text = text[n:]
	}
	return out
}

const escapeSize = 3

// escapeSequence returns the character set that the escape sequence at the start
// of text selects. It reports whether there is an escape sequence.
func escapeSequence(text []byte) (set int, ok bool) {
	if len(text) < escapeSize || text[0] != esc {
		return 0, false
	}
	switch string(text[1:escapeSize]) {
	case "(B":
		return setASCII, true
	case "(J":
		return setRoman, true
	case "(I":
		return setKatakana, true
	case "$@", "$B":
		return setJIS0208, true
	}
	return 0, false
}

// joinISO2022JP removes the escape sequence at the end of text[:at] if text[at:]
// starts with another escape sequence. Each encoded word ends with an escape sequence,
// and the standard treats two escape sequences in a row as an error.
func joinISO2022JP(text []byte, at int) []byte {
	if _, ok := escapeSequence(text[at:]); !ok || at < escapeSize {
		return text
	}
	if _, ok := escapeSequence(text[at-escapeSize : at]); !ok {
		return text
	}
	return slices.Delete(text, at-escapeSize, at)
}
