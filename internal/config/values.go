package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Number returns a parser of decimal digits for numbers from least to most. The
// unit is a plural noun for the error.
func Number(unit string, least, most int64) func(string) (int64, error) {
	want := fmt.Sprintf("want whole %s from %d to %d", unit, least, most)
	return func(v string) (int64, error) {
		if strings.Trim(v, "0123456789") != "" {
			return 0, Invalid("is not a whole number", want+", digits only")
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n > most {
			return 0, Invalid("is too large", want)
		}
		if n < least {
			return 0, Invalid("is too small", want)
		}
		return n, nil
	}
}

// YesNo parses Y or N, in either case.
func YesNo(v string) (bool, error) {
	switch v {
	case "Y", "y":
		return true, nil
	case "N", "n":
		return false, nil
	}
	return false, Invalid("is neither Y nor N", "want Y or N")
}

// OneOf returns a parser that accepts one of the words, of at least one, in any
// case.
func OneOf(words ...string) func(string) (string, error) {
	return func(v string) (string, error) {
		i := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(w, v) })
		if i < 0 {
			return "", Invalid("is not known", "want "+strings.Join(words[:len(words)-1], ", ")+" or "+words[len(words)-1])
		}
		return words[i], nil
	}
}

// Text accepts text without control characters.
func Text(v string) (string, error) {
	if i := strings.IndexFunc(v, unicode.IsControl); i >= 0 {
		return "", Invalid("has a control character", "want printable characters only")
	}
	return v, nil
}

// Path accepts text that neither begins nor ends with a blank.
func Path(v string) (string, error) {
	if strings.TrimSpace(v) != v {
		return "", Invalid("begins or ends with a blank", "want a path without it")
	}
	return Text(v)
}

// paths parses a comma list of paths.
func paths(v string) ([]string, error) {
	list, err := elements(v, "want paths separated by commas")
	for _, path := range list {
		if _, invalid := Path(path); invalid != nil {
			return nil, invalid
		}
	}
	return list, err
}

// AnyText accepts any text without NUL, such as a password.
func AnyText(v string) (string, error) {
	if strings.Contains(v, "\x00") {
		return "", Invalid("has a NUL", "want text without NUL")
	}
	return v, nil
}

// tableName accepts TABLE or DATABASE.TABLE with characters that need no escaping
// in SQL.
func tableName(v string) (string, error) {
	const want = "want letters, digits, _ and $, and one . after a database name"
	parts := strings.Split(v, ".")
	if len(parts) > 2 {
		return "", Invalid("has more than one dot", want)
	}
	for _, p := range parts {
		if p == "" {
			return "", Invalid("has an empty name", want)
		}
		if len(p) > MaxName {
			return "", Invalid("is too long", fmt.Sprintf("want at most %d characters a name", MaxName))
		}
		for _, r := range p {
			if r >= utf8.RuneSelf || !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '$' {
				return "", Invalid("has a character that is not allowed", want)
			}
		}
	}
	return v, nil
}

// account accepts text that can be the name or number of a user or group.
func account(v string) (string, error) {
	if strings.ContainsFunc(v, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == ':' || r == ',' }) {
		return "", Invalid("is not a name", "want the name or number of one account")
	}
	return v, nil
}

// elements splits a comma list and trims blanks around the elements.
func elements(v, want string) ([]string, error) {
	list := strings.Split(v, ",")
	for i, e := range list {
		if list[i] = strings.TrimSpace(e); list[i] == "" {
			return nil, Invalid(fmt.Sprintf("has an empty element %d", i+1), want)
		}
	}
	return list, nil
}

const wantAddress = "want host:port, [v6]:port or :port"

// ImplicitTLS is the prefix of a listen address whose clients begin with TLS.
const ImplicitTLS = "smtps://"

// ParseListen parses a comma list of addresses to bind, the value of
// GSTMP_LISTEN_INTERFACE and of the flag -if. With port 0 the kernel chooses the
// port.
func ParseListen(v string) ([]string, error) {
	list, err := elements(v, wantAddress)
	if err != nil {
		return nil, err
	}
	for i, e := range list {
		if err := address(strings.TrimPrefix(e, ImplicitTLS), wantAddress, 0); err != nil {
			return nil, err
		}
		if slices.Contains(list[:i], e) && !strings.HasSuffix(e, ":0") {
			return nil, &fault{value: e, problem: "is listed twice", want: "want each address once"}
		}
	}
	return list, nil
}

// oneAddress parses one address to bind.
func oneAddress(v string) (string, error) { return v, address(v, wantAddress, 0) }

// backends parses a comma list of servers. nginx accepts IP addresses only.
func backends(v string) ([]netip.AddrPort, error) {
	const want = "want ip:port or [v6]:port"
	list, err := elements(v, want)
	if err != nil {
		return nil, err
	}
	var servers []netip.AddrPort
	for _, e := range list {
		if err := address(e, want, 1); err != nil {
			return nil, err
		}
		server, err := netip.ParseAddrPort(e)
		switch {
		case err != nil:
			return nil, &fault{value: e, problem: "is not an IP address and a port", want: want}
		case server.Addr().IsUnspecified() || server.Addr().Zone() != "" || server.Addr().Is4In6():
			return nil, &fault{value: e, problem: "is not an address that nginx can reach", want: want}
		case slices.Contains(servers, server):
			return nil, &fault{value: e, problem: "is listed twice", want: "want each address once"}
		}
		servers = append(servers, server)
	}
	return servers, nil
}

// Servers parses a comma list of host:port and paths of unix sockets.
func Servers(v string) ([]string, error) {
	const want = "want host:port or /path/to.sock"
	if strings.Contains(v, "@") {
		// The value may be user:password@host, so the error does not contain it.
		return nil, &fault{hide: true, problem: "contains an @", want: want + ", user and password have their own keys"}
	}
	list, err := elements(v, want)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if strings.HasPrefix(e, "/") {
			// sockaddr_un holds 108 bytes with the final NUL.
			if len(e) > 107 {
				return nil, &fault{value: e, problem: "is too long for a socket", want: "want at most 107 bytes"}
			}
			if _, err := Text(e); err != nil {
				return nil, err
			}
			continue
		}
		if err := address(e, want, 1); err != nil {
			return nil, err
		}
		if strings.HasPrefix(e, ":") {
			return nil, &fault{value: e, problem: "has no host", want: want}
		}
	}
	return list, nil
}

// Server parses one host:port or the path of a unix socket.
func Server(v string) (string, error) {
	list, err := Servers(v)
	if err != nil {
		return "", err
	}
	if len(list) > 1 {
		return "", Invalid("has more than one server", "want one host:port or /path/to.sock")
	}
	return list[0], nil
}

// address checks host:port. The host may be empty, an IP address or a domain.
func address(v, want string, leastPort int) error {
	fail := func(problem string) error { return &fault{value: v, problem: problem, want: want} }
	host, port, err := net.SplitHostPort(v)
	switch {
	case err != nil && strings.Count(v, ":") > 1 && !strings.Contains(v, "["):
		return fail("is IPv6 without brackets")
	case err != nil && (!strings.Contains(v, ":") || strings.HasSuffix(v, "]")):
		return fail("has no port")
	case err != nil:
		return fail("is not an address")
	}
	if n, err := strconv.Atoi(port); err != nil || strings.Trim(port, "0123456789") != "" || n < leastPort || n > 65535 {
		return fail(fmt.Sprintf("has no port from %d to 65535", leastPort))
	}
	bracketed := strings.HasPrefix(v, "[")
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "" && !bracketed:
		return nil
	case err == nil && ip.Is4() == bracketed:
		return fail("has an IPv4 address in brackets")
	case err == nil:
		return nil
	case bracketed:
		return fail("has no IPv6 address in its brackets")
	}
	if strings.Trim(host, "0123456789.") == "" {
		return fail("is not an IPv4 address")
	}
	if _, err := asciiDomain(host); err != nil {
		return fail("has no host name before the port")
	}
	return nil
}
