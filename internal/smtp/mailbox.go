package smtp

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// cutPath splits s into a path, with its angle brackets if it has any, and the
// parameters after it. closed is false if a bracket or a quoted string is not closed,
// or if no blank follows the closing bracket.
func cutPath(s string) (path, params string, closed bool) {
	bracketed := strings.HasPrefix(s, "<")
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			n := quotedLen(s[i:])
			if n == 0 {
				return s, "", false
			}
			i += n - 1
		case bracketed && c == '>':
			path, params = s[:i+1], s[i+1:]
			rest := strings.TrimLeft(params, blanks)
			return path, rest, params == "" || rest != params
		case !bracketed && isBlank(c):
			return s[:i], strings.TrimLeft(s[i:], blanks), true
		}
	}
	return s, "", !bracketed
}

// cutRoute removes a source route, "@a,@b:" (RFC 5321 section 4.1.2, A-d-l). It
// returns false if the route is malformed.
func cutRoute(s string) (mailbox string, ok bool) {
	for strings.HasPrefix(s, "@") {
		n := 1 + hopLen(s[1:])
		switch rest := s[n:]; {
		case !isDomain(s[1:n]):
			return "", false
		case strings.HasPrefix(rest, ":"):
			return rest[1:], true
		case !strings.HasPrefix(rest, ",@"):
			return "", false
		}
		s = s[n+1:]
	}
	return s, true
}

// hopLen returns the length of the domain or address literal at the start of s, in a
// source route.
func hopLen(s string) int {
	if strings.HasPrefix(s, "[") {
		return strings.IndexByte(s, ']') + 1
	}
	if i := strings.IndexAny(s, ":,"); i >= 0 {
		return i
	}
	return len(s)
}

// localLen returns the length of the local part at the start of s, a quoted string or
// atoms and dots; 0 if there is no local part.
func localLen(s string) int {
	if strings.HasPrefix(s, `"`) {
		return quotedLen(s)
	}
	for i := range len(s) {
		if c := s[i]; c != '.' && c < utf8.RuneSelf && !isAtext(c) {
			return i
		}
	}
	return len(s)
}

// quotedLen returns the length of the quoted string at the start of s (RFC 5321
// section 4.1.2, Quoted-string), or 0 if it does not end or contains a control
// character.
func quotedLen(s string) int {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case isControl(c):
			return 0
		case c == '"':
			return i + 1
		case c == '\\':
			i++
			if i < len(s) && isControl(s[i]) {
				return 0
			}
		}
	}
	return 0
}

// isDomain reports whether s is a domain or an address literal. A label has letters,
// digits, hyphens, underscores and non-ASCII characters, in any order.
func isDomain(s string) bool {
	if strings.HasPrefix(s, "[") {
		return len(s) <= maxDomain && isLiteral(s)
	}
	label := 0 // length in bytes
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
		case isAlnum(c), c == '-', c == '_', c >= utf8.RuneSelf:
			label++
		default:
			return false
		}
	}
	return label > 0 && len(s) <= maxDomain
}

// isLiteral reports whether s, which starts with a bracket, is an address literal
// (RFC 5321 section 4.1.3): [192.0.2.1], [IPv6:2001:db8::1], or [tag:content] with an
// unknown tag. The content must not contain < or >, which delimit a path.
func isLiteral(s string) bool {
	s = s[1:]
	if !strings.HasSuffix(s, "]") {
		return false
	}
	s = s[:len(s)-1]
	tag, content, tagged := strings.Cut(s, ":")
	switch {
	case !tagged: // IPv4, since IPv6 addresses have colons
		_, err := netip.ParseAddr(s)
		return err == nil
	case equalFold(tag, "IPv6"):
		a, err := netip.ParseAddr(content)
		return err == nil && a.Is6() && a.Zone() == ""
	}
	for i := range len(content) {
		if c := content[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`[]\<>`, c) >= 0 {
			return false
		}
	}
	return content != "" && isKeyword(tag) && !strings.HasSuffix(tag, "-")
}

// isKeyword reports whether s is an esmtp-keyword (RFC 5321 section 4.1.2): letters,
// digits and hyphens, the first not a hyphen.
func isKeyword(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && (c != '-' || i == 0) {
			return false
		}
	}
	return s != ""
}

// isAtext reports whether c is an ASCII character of an atom (RFC 5322 section 3.2.3).
func isAtext(c byte) bool {
	return isAlnum(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// equalFold reports whether s is the ASCII word, in upper or lower case. The lengths
// differ if s has a character that Unicode folds to an ASCII letter: the long s or the
// Kelvin sign.
func equalFold(s, word string) bool {
	return len(s) == len(word) && strings.EqualFold(s, word)
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// hasControlOrSpace reports whether s has a non-ASCII control character or space. The
// parsers of a path check its ASCII characters.
func hasControlOrSpace(s string) bool {
	for _, r := range s {
		if r >= utf8.RuneSelf && (unicode.IsControl(r) || unicode.IsSpace(r)) {
			return true
		}
	}
	return false
}
