package mailinfo

import (
	"bytes"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/japanese"
)

// A word is an encoded word (RFC 2047 section 2).
type word struct {
	charset encoding.Encoding
	base64  bool   // encoding B; else Q
	text    []byte // still encoded
	size    int    // bytes from "=?" to "?="
}

// decodeText decodes a line of unstructured text: encoded words anywhere in it,
// and the text between them as decodeRaw does. A word that is malformed or in an
// unknown charset stays as it is.
//
// The bytes of adjacent words in the same charset are joined before they are
// decoded, since some senders split words inside a character.
func decodeText(line []byte, raw encoding.Encoding) string {
	var (
		out     []byte
		run     []byte            // bytes of the last words, before charset decoding
		charset encoding.Encoding // of run, nil if run is empty
		rest    = line            // not yet in out or run
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
		plain := rest[:pos]
		if charset != nil && len(bytes.Trim(plain, " \t\r")) == 0 {
			plain = nil // RFC 2047 section 6.2
		}
		if len(plain) > 0 || charset != w.charset {
			flush()
			out = append(out, decodeRaw(plain, raw)...)
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

// parseWord reads the encoded word at the start of s, which must start with "=?".
// It stops at the next "=?", so that the time stays linear for a line of many
// words that do not end.
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
	label, _, _ = bytes.Cut(label[:end], []byte("*")) // a language tag: RFC 2231 section 5
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

// appendQ decodes the Q encoding (RFC 2047 section 4.2). Invalid bytes stay as
// they are.
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

// appendBase64 decodes base64 with or without padding, and ignores characters
// that are not in the alphabet.
func appendBase64(dst, text []byte) []byte {
	var bits uint32
	n := 0 // characters of the current group of four
	for _, c := range text {
		v := base64Values[c]
		switch {
		case v < 64:
			bits = bits<<6 | uint32(v)
			if n++; n > 1 {
				dst = append(dst, byte(bits>>(2*(4-n))))
			}
			n %= 4
		case c == '=': // ends the group; another group can follow
			n = 0
		}
	}
	return dst
}
