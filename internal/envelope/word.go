package envelope

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxHelo is the maximum length of the HELO name in bytes. Longer names are cut
// (RFC 5321 section 4.5.3.1.2: a domain has at most 255 octets).
const maxHelo = 255

// appendHelo appends the HELO name, or the client's address if there is none. A
// domain or an address literal is appended as it is. In other names, it replaces
// each character that is not allowed in a domain with '?', as Postfix does, so
// that no name can break the structure of the field.
func (e *Envelope) appendHelo(dst []byte) []byte {
	helo := e.Helo
	switch {
	case helo == "":
		return appendLiteral(dst, e.Client())
	case isLiteral(helo):
		return append(dst, helo...)
	}
	// RFC 6531 section 3.7.3: only such a message may have UTF-8 in the field.
	utf8OK := strings.HasPrefix(e.Protocol, "UTF8")
	helo = helo[:min(len(helo), maxHelo)]
	dot := true // no dot may follow: at the start, or after a dot
	for i, r := range helo {
		if !inDomain(r, utf8OK) && (r != '.' || dot || i == len(helo)-1) {
			r = '?'
		}
		dst = utf8.AppendRune(dst, r)
		dot = r == '.'
	}
	return dst
}

// inDomain reports whether r is allowed in a label. The underscore is not allowed
// in host names, but many clients send it.
func inDomain(r rune, utf8OK bool) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_':
		return true
	case r < utf8.RuneSelf, r == utf8.RuneError:
		return false
	}
	return utf8OK && (unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r))
}

// isLiteral reports whether s has the form of an address literal. It does not
// check the address.
func isLiteral(s string) bool {
	if len(s) < 3 || len(s) > maxHelo || s[0] != '[' || s[len(s)-1] != ']' {
		return false
	}
	for _, r := range s[1 : len(s)-1] {
		if !inDomain(r, false) && r != '.' && r != ':' {
			return false
		}
	}
	return true
}

// appendLiteral appends addr as an address literal (RFC 5321 section 4.1.3), or
// "unknown" if addr is not valid.
func appendLiteral(dst []byte, addr netip.Addr) []byte {
	if !addr.IsValid() {
		return append(dst, "unknown"...)
	}
	dst = append(dst, '[')
	if addr.Is6() {
		dst = append(dst, "IPv6:"...)
	}
	return append(addr.AppendTo(dst), ']')
}

// appendText appends s with '?' in place of control characters. The parsers of
// package smtp already refuse most of them; this also protects the field if one
// does not.
func appendText(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c == 0x7f {
			c = '?'
		}
		dst = append(dst, c)
	}
	return dst
}

// appendComment appends s as the content of a comment, with '?' in place of
// parentheses and backslashes (RFC 5322 section 3.2.2).
func appendComment(dst []byte, s string) []byte {
	start := len(dst)
	dst = appendText(dst, s)
	for i := start; i < len(dst); i++ {
		if strings.IndexByte(`()\`, dst[i]) >= 0 {
			dst[i] = '?'
		}
	}
	return dst
}
