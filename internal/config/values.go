package config

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// number takes decimal digits and nothing else.
func number(unit string, least, most int64) func(string) (int64, error) {
	want := fmt.Sprintf("want whole %s from %d to %d", unit, least, most)
	return func(v string) (int64, error) {
		if strings.Trim(v, "0123456789") != "" {
			return 0, bad("is not a whole number", want+", digits only")
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n > most {
			return 0, bad("is too large", want)
		}
		if n < least {
			return 0, bad("is too small", want)
		}
		return n, nil
	}
}

func yesNo(v string) (bool, error) {
	switch v {
	case "Y", "y":
		return true, nil
	case "N", "n":
		return false, nil
	}
	return false, bad("is neither Y nor N", "want Y or N")
}

// oneOf takes one of the words, in any case.
func oneOf(words ...string) func(string) (string, error) {
	return func(v string) (string, error) {
		i := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(w, v) })
		if i < 0 {
			return "", bad("is not known", "want "+strings.Join(words[:len(words)-1], ", ")+" or "+words[len(words)-1])
		}
		return words[i], nil
	}
}

func saveMail(v string) (string, error) {
	return oneOf(SaveMySQL, SaveSQLite, SaveMaildir, SaveWebhook, SaveDiscard)(v)
}

// webhookURL says nothing of the value, which may hold a password.
func webhookURL(v string) (string, error) {
	const want = "want https://host/path, or http:// to a program on this machine"
	u, err := url.Parse(v)
	switch {
	case err != nil:
		return "", bad("is no URL", want)
	case u.Scheme != "https" && u.Scheme != "http":
		return "", bad("is neither https nor http", want)
	case u.Hostname() == "":
		return "", bad("names no host", want)
	}
	return plain(v)
}

// webhookKey returns the key that a secret stands for. As Standard Webhooks
// has it, whsec_ is followed by the key in base64; any other text is the key.
func webhookKey(v string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(v, "whsec_")
	if !ok {
		text, err := anyText(v)
		return []byte(text), err
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) == 0 {
		return nil, bad("is not base64 behind whsec_", "want it as it was given, or a text of your own without whsec_")
	}
	return key, nil
}

// plain takes text without control characters.
func plain(v string) (string, error) {
	if i := strings.IndexFunc(v, unicode.IsControl); i >= 0 {
		return "", bad("has a control character", "want printable characters only")
	}
	return v, nil
}

func path(v string) (string, error) {
	if strings.TrimSpace(v) != v {
		return "", bad("has blanks at an end", "want a path without them")
	}
	return plain(v)
}

func sqliteFile(v string) (string, error) {
	if strings.HasPrefix(v, ":") || strings.HasPrefix(v, "file:") {
		// An acknowledged mail must survive the process.
		return "", bad("is not a file", "want a path")
	}
	if strings.HasSuffix(v, "/") {
		return "", bad("is a directory", "want the path of a file")
	}
	return path(v)
}

// anyText takes everything that a line can hold and more: databases allow what
// they like.
func anyText(v string) (string, error) {
	if strings.Contains(v, "\x00") {
		return "", bad("has a NUL", "want text")
	}
	return v, nil
}

func databaseName(v string) (string, error) {
	if utf8.RuneCountInString(v) > maxDatabase {
		return "", bad("is too long", fmt.Sprintf("want at most %d characters", maxDatabase))
	}
	return plain(v)
}

// tableName takes what can be written into a statement without a second
// thought.
func tableName(v string) (string, error) {
	const want = "want letters, digits, _ and $, and one . after a database name"
	parts := strings.Split(v, ".")
	if len(parts) > 2 {
		return "", bad("has more than one dot", want)
	}
	for _, p := range parts {
		if p == "" {
			return "", bad("has an empty name", want)
		}
		if len(p) > maxDatabase {
			return "", bad("is too long", fmt.Sprintf("want at most %d characters a name", maxDatabase))
		}
		for _, r := range p {
			if r >= utf8.RuneSelf || !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '$' {
				return "", bad("has a character that is not allowed", want)
			}
		}
	}
	return v, nil
}

// account takes the name or number of a user or group; whether there is one is
// seen later.
func account(v string) (string, error) {
	if strings.ContainsFunc(v, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == ':' || r == ',' }) {
		return "", bad("is not a name", "want the name or number of one account")
	}
	return v, nil
}

// elements cuts a comma list; blanks round an element do not count.
func elements(v, want string) ([]string, error) {
	list := strings.Split(v, ",")
	for i, e := range list {
		if list[i] = strings.TrimSpace(e); list[i] == "" {
			return nil, bad(fmt.Sprintf("has nothing as element %d", i+1), want)
		}
	}
	return list, nil
}

const wantAddress = "want host:port, [v6]:port or :port"

// ParseListen takes apart a comma list of addresses to bind, as
// GSTMP_LISTEN_INTERFACE and the flag -if have it. Port 0 lets the system
// choose.
func ParseListen(v string) ([]string, error) {
	list, err := elements(v, wantAddress)
	if err != nil {
		return nil, err
	}
	for i, e := range list {
		if err := address(e, wantAddress, 0); err != nil {
			return nil, err
		}
		if slices.Contains(list[:i], e) && !strings.HasSuffix(e, ":0") {
			return nil, &fault{value: e, problem: "is there twice", want: "take one of the two out"}
		}
	}
	return list, nil
}

// oneAddress is an address to bind.
func oneAddress(v string) (string, error) { return v, address(v, wantAddress, 0) }

// backends takes apart a comma list of servers. nginx takes no names for them.
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
			return nil, &fault{value: e, problem: "is no address that nginx can reach", want: want}
		case slices.Contains(servers, server):
			return nil, &fault{value: e, problem: "is there twice", want: "take one of the two out"}
		}
		servers = append(servers, server)
	}
	return servers, nil
}

// databaseHosts takes apart a comma list of places where a server is.
func databaseHosts(v string) ([]string, error) {
	const want = "want host:port or /path/to.sock"
	if strings.Contains(v, "@") {
		// Somebody wrote user:password@host.
		return nil, &fault{hide: true, problem: "has an @ in it", want: want + ", user and password have keys of their own"}
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
			if _, err := plain(e); err != nil {
				return nil, err
			}
			continue
		}
		if err := address(e, want, 1); err != nil {
			return nil, err
		}
		if strings.HasPrefix(e, ":") {
			return nil, &fault{value: e, problem: "names no host", want: want}
		}
	}
	return list, nil
}

// oneServer is the place of one server.
func oneServer(v string) (string, error) {
	list, err := databaseHosts(v)
	if err != nil {
		return "", err
	}
	if len(list) > 1 {
		return "", bad("names more than one", "want one host:port or /path/to.sock")
	}
	return list[0], nil
}

// address checks host:port. The host may be empty, an address, or a name.
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
		return fail("has its brackets wrong")
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
