package envelope

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxHelo is how many bytes of a client's name are kept (RFC 5321 section
// 4.5.3.1.2: a domain has 255 octets at most).
const maxHelo = 255

// appendHelo appends the name that the client gave. A domain or an address
// literal stands as it is. Of anything else, each character that could not
// stand in a domain becomes '?', as Postfix does it, so that no name can break
// the structure of the field. A client that gave no name has its address.
func (e *Envelope) appendHelo(dst []byte) []byte {
	helo := e.Helo
	switch {
	case helo == "":
		return appendLiteral(dst, e.Remote.Addr())
	case isLiteral(helo):
		return append(dst, helo...)
	}
	// RFC 6531 section 3.7.3: only such a message may have UTF-8 in its header.
	utf8OK := strings.HasPrefix(e.Protocol, "UTF8")
	helo = helo[:min(len(helo), maxHelo)]
	dot := true // the last one was a dot, or there is none: no dot can follow
	for i, r := range helo {
		if !inDomain(r, utf8OK) && (r != '.' || dot || i == len(helo)-1) {
			r = '?'
		}
		dst = utf8.AppendRune(dst, r)
		dot = r == '.'
	}
	return dst
}

// inDomain reports whether r can stand in a label. The underscore is no host
// name's, and frequent in what clients say.
func inDomain(r rune, utf8OK bool) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_':
		return true
	case r < utf8.RuneSelf, r == utf8.RuneError:
		return false
	}
	return utf8OK && (unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r))
}

// isLiteral reports whether s has the form of an address literal, whatever
// address that may be.
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

// appendLiteral appends the client's address as RFC 5321 section 4.1.3 writes
// it, or a word where a proxy could not tell it.
func appendLiteral(dst []byte, addr netip.Addr) []byte {
	if !addr.IsValid() {
		return append(dst, "unknown"...)
	}
	addr = addr.Unmap().WithZone("")
	dst = append(dst, '[')
	if addr.Is6() {
		dst = append(dst, "IPv6:"...)
	}
	return append(addr.AppendTo(dst), ']')
}

// appendText appends s; a control character, which the parsers of the protocol
// let through nowhere, could not break the line even if they did.
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

// appendComment appends s as the inside of a comment, in which parentheses and
// the backslash have a meaning (RFC 5322 section 3.2.2).
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
