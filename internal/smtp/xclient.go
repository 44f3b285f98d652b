package smtp

import (
	"net/netip"
	"strconv"
	"strings"
)

// XClientNames are the attributes of XCLIENT that EHLO announces.
const XClientNames = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT REVERSE_NAME"

// maxXClientValue is the maximum length of a value in bytes, as in Postfix.
const maxXClientValue = 255

// An XClient holds the attributes of a proxy's client from an XCLIENT command (Postfix's
// XCLIENT_README). NAME, REVERSE_NAME, DESTADDR and DESTPORT are checked and ignored.
type XClient struct {
	HasAddr bool
	Addr    netip.Addr // invalid if the proxy does not know it
	Port    uint16     // 0 if the proxy does not report or know it

	HasHelo bool
	Helo    string // "" if the client gave no name

	Proto string // SMTP, ESMTP, or "" if not reported

	HasLogin bool
	Login    string // "" if the client has not logged in
}

// ParseXClient parses the argument of XCLIENT: name=value separated by blanks, names in
// upper or lower case, values in xtext (RFC 3461 section 4). A value that is not xtext
// stays as it is, since not all proxies encode values. A refusal is 501 5.5.4.
func ParseXClient(arg string) (XClient, *Reply) {
	var x XClient
	if strings.Trim(arg, blanks) == "" {
		return x, replySyntax("XCLIENT attribute=value ...")
	}
	for _, word := range strings.FieldsFunc(arg, func(r rune) bool { return strings.ContainsRune(blanks, r) }) {
		name, value, _ := strings.Cut(word, "=")
		value = decodeXText(value)
		if value == "" || len(value) > maxXClientValue || !isValue(value) {
			return XClient{}, &ReplyMalformedAttribute
		}
		if known, ok := x.set(name, value); !known {
			return XClient{}, &ReplyUnknownAttribute
		} else if !ok {
			return XClient{}, replyMalformed("attribute", strings.ToUpper(name))
		}
	}
	return x, nil
}

// set sets one attribute. It reports whether the attribute is known and its value is
// valid.
func (x *XClient) set(name, value string) (known, ok bool) {
	unknown := equalFold(value, "[UNAVAILABLE]") || equalFold(value, "[TEMPUNAVAIL]")
	switch {
	case equalFold(name, "ADDR"), equalFold(name, "DESTADDR"):
		addr, err := netip.Addr{}, error(nil)
		if !unknown {
			addr, err = parseXClientAddr(value)
		}
		if equalFold(name, "ADDR") {
			x.HasAddr, x.Addr = true, addr
		}
		return true, err == nil
	case equalFold(name, "PORT"), equalFold(name, "DESTPORT"):
		port, err := uint64(0), error(nil)
		if !unknown {
			port, err = strconv.ParseUint(value, 10, 16)
		}
		if equalFold(name, "PORT") {
			x.Port = uint16(port)
		}
		return true, err == nil && strings.Trim(value, "0123456789") == "" || unknown
	case equalFold(name, "PROTO"):
		x.Proto = strings.ToUpper(value)
		return true, equalFold(value, "SMTP") || equalFold(value, "ESMTP")
	case equalFold(name, "HELO"):
		x.HasHelo, x.Helo = true, emptyIf(unknown, value)
		return true, true
	case equalFold(name, "LOGIN"):
		x.HasLogin, x.Login = true, emptyIf(unknown, value)
		return true, true
	}
	return equalFold(name, "NAME") || equalFold(name, "REVERSE_NAME"), true
}

func emptyIf(unknown bool, value string) string {
	if unknown {
		return ""
	}
	return value
}

// parseXClientAddr parses an address. An IPv6 address has a prefix, as in an address
// literal (RFC 5321 section 4.1.3).
func parseXClientAddr(value string) (netip.Addr, error) {
	const prefix = "IPV6:"
	if len(value) > len(prefix) && equalFold(value[:len(prefix)], prefix) {
		addr, err := netip.ParseAddr(value[len(prefix):])
		if err == nil && (!addr.Is6() || addr.Zone() != "") {
			return netip.Addr{}, strconv.ErrSyntax
		}
		return addr.Unmap(), err
	}
	addr, err := netip.ParseAddr(value)
	if err == nil && !addr.Is4() {
		return netip.Addr{}, strconv.ErrSyntax
	}
	return addr, err
}

// decodeXText decodes "+" and two upper-case hexadecimal digits. It returns s unchanged
// if s is not xtext.
func decodeXText(s string) string {
	if !strings.Contains(s, "+") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '+' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) || !isUpperHex(s[i+1]) || !isUpperHex(s[i+2]) {
			return s
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return s
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String()
}

func isUpperHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' }
