package config_test

import (
	"strings"
	"testing"

	"goguerrillad/internal/config"
)

// TestHosts: Match reports whether a domain is in the list, in any case and form.
func TestHosts(t *testing.T) {
	cases := []struct {
		list    string
		matches []string
		others  []string
	}{
		{"example.com, Sample.COM.,foo.com",
			[]string{"example.com", "EXAMPLE.com", "example.com.", "sample.com", "foo.com"},
			[]string{"", ".", "com", "xexample.com", "a.example.com", "example.com..", ".example.com", "example.org", "[192.0.2.1]"}},
		{"*.example.com",
			[]string{"a.example.com", "A.EXAMPLE.COM", "a.b.c.example.com", "a.example.com."},
			[]string{"example.com", ".example.com", "..example.com", "aexample.com", "example.com.org", "a.example.co"}},
		{"*.example.com,example.com",
			[]string{"example.com", "a.example.com"},
			[]string{"example.org"}},
		{".",
			[]string{"example.com", "localhost", "[192.0.2.1]", "[IPv6:2001:db8::1]", "bücher.example", "xn--nonsense-.com"},
			[]string{""}},
		{"a.com,.",
			[]string{"b.com"},
			nil},
		// U-labels and A-labels are equal, in the list and in the domain.
		{"bücher.example,*.straße.example,münchen.xn--p1ai",
			[]string{"bücher.example", "BÜCHER.Example", "xn--bcher-kva.example", "XN--BCHER-KVA.example.", "bu\u0308cher.example",
				"a.straße.example", "ü.straße.example", "a.xn--strae-oqa.example", "xn--mnchen-3ya.рф", "MÜNCHEN.РФ"},
			[]string{"bucher.example", "straße.example", "a.strasse.example", "b\xfccher.example", "bücher.example..", "\xff"}},
		{"xn--bcher-kva.example",
			[]string{"bücher.example", "xn--bcher-kva.example"},
			[]string{"bcher-kva.example"}},
		// Address literals are equal if their addresses are.
		{"[192.0.2.1],[IPv6:2001:DB8:0:0::1]",
			[]string{"[192.0.2.1]", "[ipv6:2001:db8::1]", "[IPv6:2001:db8:0:0:0:0:0:1]"},
			[]string{"192.0.2.1", "[192.0.2.2]", "[192.0.2.1", "[2001:db8::1]", "[IPv6:192.0.2.1]", "[]", "["}},
		{"my_host,localhost,3com.com,a--b.com,xn--11b4c3d.com",
			[]string{"MY_HOST", "localhost", "3com.com", "a--b.com"},
			nil},
	}
	for _, c := range cases {
		h, err := config.ParseHosts(c.list)
		if err != nil {
			t.Errorf("%q: %v", c.list, err)
			continue
		}
		for _, d := range c.matches {
			if !h.Match(d) {
				t.Errorf("%q does not match %q", c.list, d)
			}
		}
		for _, d := range c.others {
			if h.Match(d) {
				t.Errorf("%q matches %q", c.list, d)
			}
		}
	}
}

// TestNoHosts: the nil set matches no domain.
func TestNoHosts(t *testing.T) {
	var none *config.Hosts
	if none.Match("example.com") {
		t.Error("the nil set matches example.com")
	}
}

// TestMatchAllocatesNothing: Match of a domain in lower case allocates no memory.
func TestMatchAllocatesNothing(t *testing.T) {
	h, err := config.ParseHosts("example.com,*.example.org")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"example.com", "a.b.example.org", "nowhere.example"} {
		if n := testing.AllocsPerRun(100, func() { h.Match(d) }); n != 0 {
			t.Errorf("Match(%q) allocates %v times", d, n)
		}
	}
}

// FuzzHosts: neither ParseHosts nor Match panics, and a list of one domain matches
// that domain.
func FuzzHosts(f *testing.F) {
	f.Add("example.com,*.example.org", "a.example.org")
	f.Add("bücher.example", "xn--bcher-kva.example")
	f.Add("[IPv6:::1]", "[ipv6:0::1]")
	f.Add(".", "x")
	f.Add("*.", "*..")
	f.Add("a\u3002b", "a.b")
	f.Fuzz(func(t *testing.T, list, domain string) {
		h, err := config.ParseHosts(list)
		if err != nil {
			return
		}
		h.Match(domain)
		if one, err := config.ParseHosts(domain); err == nil && domain != "" && domain[0] != '*' && domain[0] != '.' &&
			!strings.ContainsAny(domain, ", \t\r\n\v\f\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000") && !one.Match(domain) {
			t.Errorf("%q does not match itself", domain)
		}
	})
}
