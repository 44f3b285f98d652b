package mailinfo

import (
	"strconv"
	"strings"
)

// A param is one parameter of a Content-Type or Content-Disposition field, or one
// section of a parameter (RFC 2231 section 3).
type param struct {
	name     string // in lower case, up to the first '*'
	value    string // without quotes, still percent-encoded
	whole    string // for a boundary without quotes, all bytes up to the ';'; else value
	section  int    // number of the section, or unsectioned
	extended bool   // the name ends with '*': the value is percent-encoded
}

const unsectioned = -1

// parseParams returns all parameters of a field and ignores any text between them.
// It reads from the start of the field, since the semicolon before the first
// parameter may be missing.
func parseParams(field string) []param {
	var params []param
	for pos := 0; pos < len(field) && len(params) < maxParams; {
		var name string
		var ok bool
		if name, pos, ok = scanName(field, pos); !ok {
			continue
		}
		p, ok := newParam(name)
		start := pos
		p.value, pos = scanValue(field, start, p.name == "filename" || p.name == "name")
		p.whole = p.value
		if p.name == "boundary" {
			p.whole, _ = scanValue(field[:min(len(field), start+2*maxBoundary)], start, true)
		}
		if ok {
			params = append(params, p)
		}
	}
	return params
}

// newParam parses a parameter name: name, name*, name*1 or name*1*.
func newParam(name string) (param, bool) {
	base, suffix, star := strings.Cut(name, "*")
	p := param{name: strings.ToLower(base), section: unsectioned}
	switch {
	case !star:
	case suffix == "":
		p.extended = true
	default:
		number, extended := strings.CutSuffix(suffix, "*")
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return p, false
		}
		p.section, p.extended = int(n), extended
	}
	return p, base != ""
}

// scanName returns the word before the next '=' at or after pos, and the offset
// after the '='. It returns false if a ';' or the end comes first.
func scanName(s string, pos int) (name string, next int, ok bool) {
	start := pos
	for ; pos < len(s); pos++ {
		switch s[pos] {
		case '(':
			pos = skipComment(s, pos)
			start = pos
			pos--
		case ';':
			return "", pos + 1, false
		case '=':
			words := strings.TrimRight(s[start:pos], " \t")
			return words[strings.LastIndexAny(words, " \t")+1:], pos + 1, true
		}
	}
	return "", pos, false
}

// scanValue reads the value at pos. A value without quotes ends at a blank, a
// comment or a ';', and if whole is set, only at a ';': some senders write file
// names and boundaries with blanks and parentheses but without quotes.
func scanValue(s string, pos int, whole bool) (value string, next int) {
	for pos < len(s) && (s[pos] == ' ' || s[pos] == '\t') {
		pos++
	}
	if pos < len(s) && s[pos] == '"' {
		return scanQuoted(s, pos+1)
	}
	ends := " \t;("
	if whole {
		ends = ";"
	}
	end := len(s)
	if i := strings.IndexAny(s[pos:], ends); i >= 0 {
		end = pos + i
	}
	return strings.TrimRight(s[pos:end], " \t"), end
}

// scanQuoted reads a quoted string whose opening quote is before pos. The closing
// quote may be missing. A backslash escapes only a quote or a backslash: any other
// backslash is part of a path that the sender did not escape.
func scanQuoted(s string, pos int) (value string, next int) {
	var b strings.Builder
	start := pos
	for ; pos < len(s) && s[pos] != '"'; pos++ {
		if pos = skipShifted(s, pos); s[pos] == '\\' && pos+1 < len(s) && (s[pos+1] == '"' || s[pos+1] == '\\') {
			b.WriteString(s[start:pos])
			pos++
			start = pos
		}
	}
	end := pos
	if pos < len(s) {
		pos++
	}
	if b.Len() == 0 {
		return s[start:end], pos
	}
	b.WriteString(s[start:end])
	return b.String(), pos
}

// skipShifted returns the end of the two-byte ISO-2022-JP text that starts at
// pos: the offset of the next escape sequence. If no such text starts at pos, it
// returns pos. The bytes of such text can look like quotes and backslashes.
func skipShifted(s string, pos int) int {
	if s[pos] == esc && pos+1 < len(s) && s[pos+1] == '$' {
		if i := strings.IndexByte(s[pos+1:], esc); i >= 0 {
			return pos + 1 + i
		}
	}
	return pos
}

// skipComment returns the offset after the comment that starts at pos (RFC 5322
// section 3.2.2), or len(s) if the comment does not end.
func skipComment(s string, pos int) int {
	for depth := 0; pos < len(s); pos++ {
		switch s[pos] {
		case '\\':
			pos++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return pos + 1
			}
		}
	}
	return len(s)
}
