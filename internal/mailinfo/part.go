package mailinfo

import (
	"bytes"
	"slices"
	"strings"
)

// A part holds the parsed header fields of the message or of one of its parts.
type part struct {
	kind             string  // type/subtype in lower case
	malformed        bool    // Content-Type is malformed and kind is text/plain
	params           []param // of Content-Type
	disposition      string  // in lower case, "" if there is none
	dispParams       []param // of Content-Disposition
	transferEncoding string  // transfer encoding in lower case, "" if there is none
}

// newPart parses the fields of a header. A missing Content-Type means defaultType,
// and a malformed Content-Type means text/plain (RFC 2045 section 5.2).
func newPart(h header, defaultType string) part {
	p := part{kind: defaultType}
	if h.contentType != nil {
		field := structured(h.contentType)
		p.kind = mediaType(field)
		if p.malformed = p.kind == ""; p.malformed {
			p.kind = "text/plain"
		}
		p.params = parseParams(field)
	}
	if h.disposition != nil {
		field := structured(h.disposition)
		p.disposition = firstWord(field)
		p.dispParams = parseParams(field)
	}
	p.transferEncoding = firstWord(structured(h.transferEncoding))
	return p
}

// structured returns the first maxField bytes of a field body, as one line.
func structured(value []byte) string {
	return string(unfold(value[:min(len(value), maxField)]))
}

// mediaType returns the text before the first semicolon, in lower case and
// without comments, or "" if it is not token/token (RFC 2045 section 5.1).
func mediaType(field string) string {
	field, _, _ = strings.Cut(field, ";")
	main, sub, _ := strings.Cut(strings.ToLower(withoutComments(field)), "/")
	main, sub = strings.Trim(main, " \t"), strings.Trim(sub, " \t")
	if !isToken(main) || !isToken(sub) || len(main)+1+len(sub) > maxToken {
		return ""
	}
	return main + "/" + sub
}

// withoutComments replaces each comment with a space.
func withoutComments(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	var b strings.Builder
	for pos := 0; pos < len(s); {
		if s[pos] == '(' {
			pos = skipComment(s, pos)
			b.WriteByte(' ')
			continue
		}
		b.WriteByte(s[pos])
		pos++
	}
	return b.String()
}

// isToken reports whether s is a token of RFC 2045 section 5.1.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// firstWord returns the first word of a field in lower case. It removes quotes
// around the word, which no standard allows.
func firstWord(field string) string {
	for strings.HasPrefix(field, "(") {
		field = strings.TrimLeft(field[skipComment(field, 0):], " \t")
	}
	if quoted, ok := strings.CutPrefix(field, `"`); ok {
		field, _ = scanQuoted(quoted, 0)
		field = strings.TrimLeft(field, " \t")
	}
	if i := strings.IndexAny(field, " \t;(="); i >= 0 {
		field = field[:i]
	}
	return strings.ToLower(field)
}

// boundaries returns the possible boundaries of a multipart. By the standard, a
// boundary without quotes ends at a blank or a comment, but some senders include
// blanks and parentheses in it. The delimiter lines of the message decide.
func (p *part) boundaries() [2]string {
	strict := boundary(p.params)
	whole := slices.Clone(p.params)
	for i := range whole {
		whole[i].value = whole[i].whole
	}
	if b := boundary(whole); b != strict {
		return [2]string{strict, b}
	}
	return [2]string{strict}
}

// boundary returns the boundary parameter, or "" if there is none or it is
// longer than maxBoundary.
func boundary(params []param) string {
	value, _, _ := rawParam(params, "boundary")
	value = bytes.TrimRight(value, " \t")
	if len(value) > maxBoundary {
		return ""
	}
	return string(value)
}
