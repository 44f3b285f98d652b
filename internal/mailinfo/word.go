package mailinfo

import (
	"bytes"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/japanese"
)

// A word is one encoded word of RFC 2047.
type word struct {
	charset encoding.Encoding
	base64  bool   // or Q
	text    []byte // still encoded
	size    int    // bytes from "=?" to "?="
}

// decodeText decodes a line of unstructured text: its encoded words, wherever
// they stand, and the text between them as UTF-8 or, where it is none, by raw.
// The bytes of neighbours in one charset are joined before they are decoded,
// since senders split words without regard for characters. A word that is
// malformed or in an unknown charset stays as it is.
func decodeText(line []byte, raw encoding.Encoding) string {
	var (
		out     []byte
		run     []byte            // the undone bytes of the words before
		charset encoding.Encoding // their charset, nil when there are none
		rest    = line            // what is not yet in out or run
	)
	flush := func() {
		if charset != nil {
			out = append(out, decode(charset, run)...)
			run, charset = run[:0], nil
		}
	}
	for pos := 0; ; {
		i := bytes.Index(rest[pos:], []byte("=?"))
		if i < 0 {
			break
		}
		pos += i
		w, ok := parseWord(rest[pos:])
		if !ok {
			pos += len("=?")
			continue
		}
		between := rest[:pos]
		if charset != nil && len(bytes.Trim(between, " \t\r")) == 0 {
			between = nil // RFC 2047 section 6.2
		}
		if len(between) > 0 || charset != w.charset {
			flush()
			out = append(out, decodeRaw(between, raw)...)
		}
		charset = w.charset
		start := len(run)
		if w.base64 {
			run = appendBase64(run, w.text)
		} else {
			run = appendQ(run, w.text)
		}
		if charset == japanese.ISO2022JP {
			run = joinISO2022JP(run, start)
		}
		rest, pos = rest[pos+w.size:], 0
	}
	flush()
	if len(out) == 0 {
		return oneLine(decodeRaw(rest, raw))
	}
	return oneLine(string(append(out, decodeRaw(rest, raw)...)))
}

// parseWord reads the encoded word that s, which begins with "=?", begins with.
// It looks no further than to the next "=?", so that many beginnings without
// an end cost no more than their length.
func parseWord(s []byte) (w word, ok bool) {
	const maxLabel = 80
	label := s[len("=?"):]
	end := bytes.IndexByte(label[:min(len(label), maxLabel)], '?')
	if end < 0 || len(label) < end+3 || label[end+2] != '?' {
		return w, false
	}
	switch label[end+1] {
	case 'B', 'b':
		w.base64 = true
	case 'Q', 'q':
	default:
		return w, false
	}
	text := label[end+3:]
	label, _, _ = bytes.Cut(label[:end], []byte("*")) // RFC 2231 section 5: a language
	if w.charset = lookup(string(label)); w.charset == nil {
		return w, false
	}
	for pos := 0; ; pos++ {
		i := bytes.IndexByte(text[pos:], '?')
		if i < 0 {
			return w, false
		}
		pos += i
		if pos+1 < len(text) && text[pos+1] == '=' {
			w.text = text[:pos]
			w.size = len(s) - len(text) + pos + len("?=")
			return w, true
		}
		if pos > 0 && text[pos-1] == '=' {
			return w, false
		}
	}
}

// appendQ undoes the encoding Q of RFC 2047 section 4.2. What is no part of it
// stands for itself.
func appendQ(dst, text []byte) []byte {
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '_':
			c = ' '
		case c == '=' && i+2 < len(text) && isHex(text[i+1]) && isHex(text[i+2]):
			c = unhex(text[i+1])<<4 | unhex(text[i+2])
			i += 2
		}
		dst = append(dst, c)
	}
	return dst
}

// appendBase64 undoes base64, with or without padding, and passes over what is
// not of its alphabet.
func appendBase64(dst, text []byte) []byte {
	var bits uint32
	n := 0 // characters of the group of four
	for _, c := range text {
		v := base64Values[c]
		switch {
		case v < 64:
			bits = bits<<6 | uint32(v)
			if n++; n > 1 {
				dst = append(dst, byte(bits>>(2*(4-n))))
			}
			n %= 4
		case c == '=': // the group ends early; another may follow
			n = 0
		}
	}
	return dst
}
