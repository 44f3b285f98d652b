package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Hosts is the set of domains that receive messages. The nil set is empty.
type Hosts struct {
	all    bool
	exact  map[string]struct{} // domains in lower case with A-labels, canonical address literals
	suffix map[string]struct{} // example.com for *.example.com
}

// maxDomain is the maximum length of a domain, in bytes (RFC 1035 section 2.3.4).
const maxDomain = 255

const wantHosts = "want domains separated by commas, *.example.com for all subdomains, . for every domain"

// ParseHosts parses the value of GM_ALLOWED_HOSTS.
func ParseHosts(v string) (*Hosts, error) {
	list, err := elements(v, wantHosts)
	if err != nil {
		return nil, err
	}
	h := &Hosts{exact: make(map[string]struct{}), suffix: make(map[string]struct{})}
	for _, e := range list {
		rest, wild := strings.CutPrefix(e, "*.")
		switch {
		case e == ".":
			h.all = true
			continue
		case e == "*":
			return nil, &fault{value: e, problem: "is not a domain", want: "want . for every domain"}
		case strings.Contains(e, "@"):
			return nil, &fault{value: e, problem: "is an email address", want: "want the part after the @"}
		case strings.HasPrefix(e, "["):
			literal, ok := canonicalLiteral(e)
			if !ok {
				return nil, &fault{value: e, problem: "is not an address literal", want: "want [192.0.2.1] or [IPv6:2001:db8::1]"}
			}
			h.exact[literal] = struct{}{}
			continue
		}
		domain, err := asciiDomain(rest)
		if err != nil {
			return nil, &fault{value: e, problem: "is not a domain, " + err.Error(), want: wantHosts}
		}
		domain = strings.ToLower(domain)
		if wild {
			h.suffix[domain] = struct{}{}
		} else {
			h.exact[domain] = struct{}{}
		}
	}
	return h, nil
}

// Match reports whether a domain, or an address literal in brackets, is in the
// set. It ignores case and one final dot, and accepts internationalised domains
// with U-labels or A-labels.
func (h *Hosts) Match(domain string) bool {
	if h == nil || domain == "" {
		return false
	}
	if h.all {
		return true
	}
	if domain[0] == '[' {
		literal, ok := canonicalLiteral(domain)
		_, found := h.exact[literal]
		return ok && found
	}
	domain = strings.TrimSuffix(domain, ".")
	if !isASCII(domain) {
		ascii, err := idnaProfile().ToASCII(domain)
		return err == nil && h.matchLower(ascii)
	}
	return h.matchLower(strings.ToLower(domain))
}

// Example returns a domain of the set: preferred if the set contains it or has only patterns.
func (h *Hosts) Example(preferred string) string {
	if h == nil || len(h.exact) == 0 || h.Match(preferred) {
		return preferred
	}
	return slices.Min(slices.Collect(maps.Keys(h.exact)))
}

// matchLower matches a domain in lower case with A-labels. It does not allocate.
func (h *Hosts) matchLower(domain string) bool {
	if _, ok := h.exact[domain]; ok {
		return true
	}
	for len(h.suffix) > 0 {
		label, parent, ok := strings.Cut(domain, ".")
		if !ok || label == "" {
			return false
		}
		if _, ok := h.suffix[parent]; ok {
			return true
		}
		domain = parent
	}
	return false
}

// hostName parses GSMTP_HOST_NAME and GM_PRIMARY_MAIL_HOST and returns the name
// in ASCII, which a greeting and a Received field require.
func hostName(v string) (string, error) {
	const want = "want one domain, such as mail.example.com"
	if strings.HasPrefix(v, "[") {
		if literal, ok := canonicalLiteral(v); ok {
			return strings.Replace(literal, "ipv6", "IPv6", 1), nil
		}
	}
	name, err := asciiDomain(v)
	if err != nil {
		return "", Invalid("is not a domain, "+err.Error(), want)
	}
	return name, nil
}

// idnaProfile returns the IDNA profile that converts domains to A-labels. It allows
// underscores and hyphens anywhere, since existing domains of recipients have them.
func idnaProfile() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(),
		idna.CheckHyphens(false), idna.StrictDomainName(false))
}

// asciiDomain checks a domain and returns it with A-labels and without a final
// dot. ASCII letters keep their case.
func asciiDomain(v string) (string, error) {
	v = strings.TrimSuffix(v, ".")
	if v == "" {
		return "", errors.New("it is empty")
	}
	if lower := strings.ToLower(v); !isASCII(v) || strings.HasPrefix(lower, "xn--") || strings.Contains(lower, ".xn--") {
		ascii, err := idnaProfile().ToASCII(v)
		if err != nil {
			return "", errors.New("it is not valid in IDNA")
		}
		v = ascii
	}
	if len(v) > maxDomain {
		return "", fmt.Errorf("it has more than %d bytes", maxDomain)
	}
	for label := range strings.SplitSeq(v, ".") {
		switch {
		case label == "":
			return "", errors.New("it has an empty label")
		case len(label) > 63: // RFC 1035 section 2.3.4
			return "", errors.New("it has a label of more than 63 bytes")
		case label[0] == '-' || label[len(label)-1] == '-':
			return "", errors.New("it has a label with a hyphen at an end")
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return "", errors.New("it has a character that is not allowed in a domain")
			}
		}
	}
	return v, nil
}

// canonicalLiteral returns the canonical form of an address literal (RFC 5321
// section 4.1.3).
func canonicalLiteral(v string) (string, bool) {
	inner, ok := strings.CutPrefix(v, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	if !ok || !closed {
		return "", false
	}
	prefix := ""
	if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
		prefix, inner = "ipv6:", inner[5:]
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil || ip.Zone() != "" || ip.Is4() != (prefix == "") {
		return "", false
	}
	return "[" + prefix + ip.String() + "]", true
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
