package mailinfo

import (
	"bytes"
	"slices"
	"strings"
)

// A part is an entity that is not a multipart, as its header describes it.
type part struct {
	kind        string  // type/subtype in lower case
	malformed   bool    // kind is the default for a type that is none
	params      []param // of Content-Type
	disposition string  // in lower case, "" when there is none
	dispParams  []param // of Content-Disposition
	encoding    string  // in lower case, "" when there is none
}

// newPart reads a part's header. A missing type is the default, a malformed one
// text/plain (RFC 2045 section 5.2); what the other fields say stays.
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
	p.encoding = firstWord(structured(h.encoding))
	return p
}

// structured returns as much of a field's body as is looked at, on one line.
func structured(value []byte) string {
	return string(unfold(value[:min(len(value), maxField)]))
}

// mediaType returns what stands before the first semicolon, in lower case and
// without comments, or "" if that is not token/token (RFC 2045 section 5.1).
func mediaType(field string) string {
	field, _, _ = strings.Cut(field, ";")
	main, sub, _ := strings.Cut(strings.ToLower(withoutComments(field)), "/")
	main, sub = strings.Trim(main, " \t"), strings.Trim(sub, " \t")
	if !isToken(main) || !isToken(sub) || len(main)+1+len(sub) > maxToken {
		return ""
	}
	return main + "/" + sub
}

// withoutComments makes a blank of each comment.
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

// firstWord returns the word that a field begins with, in lower case. Quotes
// around it, which no standard allows, are removed.
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

// boundaries returns what can separate the parts of a multipart. A boundary
// without quotes may end at a blank or a comment, as the standard has it, or
// contain them, as its sender meant it; the lines of the message decide.
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

// boundary returns the parameter of that name, or "" if it is unknown.
func boundary(params []param) string {
	value, _, _ := rawParam(params, "boundary")
	value = bytes.TrimRight(value, " \t")
	if len(value) > maxBoundary {
		return ""
	}
	return string(value)
}
