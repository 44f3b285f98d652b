package mailinfo

import (
	utf16units "unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
)

// decodeStandard decodes text as the WHATWG Encoding standard requires. The
// decoders of golang.org/x/text lack some characters and skip valid characters
// after an error. For the encodings where that matters, only their tables are used.
func decodeStandard(enc encoding.Encoding, text []byte) []byte {
	switch enc {
	case traditionalchinese.Big5, korean.EUCKR:
		return decodeMultibyte(enc, text, nextDouble)
	case japanese.ShiftJIS:
		return decodeMultibyte(enc, text, nextShiftJIS)
	case japanese.EUCJP:
		return decodeMultibyte(enc, text, nextEUCJP)
	case simplifiedchinese.GB18030, simplifiedchinese.GBK:
		return decodeMultibyte(simplifiedchinese.GB18030, text, nextGB18030)
	case japanese.ISO2022JP:
		return decodeISO2022JP(text)
	case utf16(unicode.LittleEndian), utf16(unicode.BigEndian):
		return decodeUTF16(text, enc == utf16(unicode.BigEndian))
	}
	if enc == charmap.ISO8859_8I { // differs only in the order of display
		enc = charmap.ISO8859_8
	}
	if table, ok := enc.(*charmap.Charmap); ok {
		return decodeSingleByte(table, text)
	}
	out, err := enc.NewDecoder().Bytes(text) // UTF-8, x-user-defined
	if err != nil {
		return text
	}
	return out
}

// decodeMultibyte decodes text with the table of enc. next returns the
// length of the first character, and whether these bytes can be a character. If two
// or three bytes are not a character and the last byte is ASCII, the last byte is
// decoded again.
func decodeMultibyte(enc encoding.Encoding, text []byte, next func([]byte) (int, bool)) []byte {
	out := make([]byte, 0, len(text)+len(text)/2)
	table := enc.NewDecoder()
	for len(text) > 0 {
		if text[0] < utf8.RuneSelf {
			out = append(out, text[0])
			text = text[1:]
			continue
		}
		n, ok := next(text)
		if ok {
			out, ok = appendCharacter(out, table, text[:n])
			if !ok {
				if r := missing(enc, text[:n]); r != 0 {
					out, ok = utf8.AppendRune(out, r), true
				}
			}
			if !ok && n < 4 && text[n-1] < utf8.RuneSelf {
				n--
			}
		}
		if !ok {
			out = append(out, "\uFFFD"...)
		}
		text = text[n:]
	}
	return out
}

// appendCharacter appends the character of seq and reports whether there is one.
func appendCharacter(dst []byte, table *encoding.Decoder, seq []byte) ([]byte, bool) {
	if string(seq) == "\x81\x35\xf4\x37" { // GB18030, where the table has U+1E3F
		return append(dst, "\uE7C7"...), true
	}
	var buf [4 * utf8.UTFMax]byte
	n, _, err := table.Transform(buf[:], seq, true)
	for i := 0; i < n; {
		r, size := utf8.DecodeRune(buf[i:n])
		if r == utf8.RuneError {
			return dst, false
		}
		i += size
	}
	return append(dst, buf[:n]...), err == nil && n > 0
}

func between(low, c, high byte) bool { return low <= c && c <= high }

// nextDouble is the next function of Big5 and EUC-KR.
func nextDouble(text []byte) (int, bool) {
	if len(text) < 2 || !between(0x81, text[0], 0xfe) {
		return 1, false
	}
	return 2, true
}

func nextShiftJIS(text []byte) (int, bool) {
	c := text[0]
	switch {
	case c == 0x80, between(0xa1, c, 0xdf):
		return 1, true
	case len(text) < 2, !between(0x81, c, 0x9f) && !between(0xe0, c, 0xfc):
		return 1, false
	}
	return 2, true
}

func nextEUCJP(text []byte) (int, bool) {
	c := text[0]
	switch {
	case len(text) < 2, c != 0x8e && c != 0x8f && !between(0xa1, c, 0xfe):
		return 1, false
	case c != 0x8f:
		return 2, true
	case text[1] < utf8.RuneSelf:
		return 1, false
	case len(text) < 3, !between(0xa1, text[1], 0xfe):
		return 2, false
	}
	return 3, true
}

func nextGB18030(text []byte) (int, bool) {
	switch {
	case text[0] == 0x80:
		return 1, true
	case len(text) < 2, text[0] == 0xff:
		return 1, false
	case !between('0', text[1], '9'):
		return 2, true
	case len(text) < 3:
		return 2, false
	case !between(0x81, text[2], 0xfe):
		return 1, false
	case len(text) < 4:
		return 3, false
	case !between('0', text[3], '9'):
		return 1, false
	}
	return 4, true
}

// decodeSingleByte decodes a byte from 80 to 9F without a character to the C1
// control of the same number.
func decodeSingleByte(table *charmap.Charmap, text []byte) []byte {
	out := make([]byte, 0, len(text)+len(text)/2)
	for _, c := range text {
		r := table.DecodeByte(c)
		if r == utf8.RuneError && between(0x80, c, 0x9f) {
			r = rune(c)
		}
		out = utf8.AppendRune(out, r)
	}
	return out
}

// decodeUTF16 decodes text and keeps byte order marks.
func decodeUTF16(text []byte, bigEndian bool) []byte {
	out := make([]byte, 0, len(text)+len(text)/2)
	high := rune(-1) // a high surrogate that waits for a low one
	for ; len(text) >= 2; text = text[2:] {
		unit := rune(text[1])<<8 | rune(text[0])
		if bigEndian {
			unit = rune(text[0])<<8 | rune(text[1])
		}
		if high >= 0 {
			r := utf16units.DecodeRune(high, unit)
			out = utf8.AppendRune(out, r)
			high = -1
			if r != utf8.RuneError {
				continue
			}
		}
		if 0xd800 <= unit && unit < 0xdc00 {
			high = unit
			continue
		}
		out = utf8.AppendRune(out, unit) // U+FFFD for a low surrogate alone
	}
	if high >= 0 || len(text) > 0 {
		out = append(out, "\uFFFD"...)
	}
	return out
}
