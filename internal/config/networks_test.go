package config_test

import (
	"net/netip"
	"testing"
)

func TestTrustedProxies(t *testing.T) {
	c := mustParse(t, newWorld(), `{"GSMTP_TRUSTED_PROXIES": "192.0.2.0/24, 10.1.2.3 ,2001:db8::/32"}`)
	unix := mustParse(t, newWorld(), `{"GSMTP_TRUSTED_PROXIES": "unix"}`)
	none := mustParse(t, newWorld(), `{}`)
	// The nginx of auth_http is on the same machine unless it is said where.
	nginx := mustParse(t, newWorld(), `{"NGINX_AUTH_ENABLED": "Y"}`)
	for peer, want := range map[string]bool{"127.0.0.9": true, "::1": true, "192.0.2.1": false} {
		if got := nginx.Trusted.Match(netip.MustParseAddr(peer)); got != want {
			t.Errorf("auth_http: %s: %v", peer, got)
		}
	}
	for _, tt := range []struct {
		peer            string
		trusted, byUnix bool
	}{
		{"192.0.2.255", true, false},
		{"::ffff:192.0.2.1", true, false},
		{"192.0.3.0", false, false},
		{"10.1.2.3", true, false},
		{"10.1.2.4", false, false},
		{"2001:db8:ffff::1", true, false},
		{"2001:db9::1", false, false},
		{"fe80::1%eth0", false, false},
		{"", false, true},
	} {
		peer, _ := netip.ParseAddr(tt.peer) // "" is a unix socket
		if got := c.Trusted.Match(peer); got != tt.trusted {
			t.Errorf("%q: %v", tt.peer, got)
		}
		if got := unix.Trusted.Match(peer); got != tt.byUnix {
			t.Errorf("unix: %q: %v", tt.peer, got)
		}
		if none.Trusted.Match(peer) {
			t.Errorf("nobody is trusted, but %q is", tt.peer)
		}
	}
	for _, all := range []string{"0.0.0.0/0", "10.0.0.0/8,::/0"} {
		if c := mustParse(t, newWorld(), `{"GSMTP_TRUSTED_PROXIES": "`+all+`"}`); len(c.Warnings) != 1 {
			t.Errorf("%s: warnings %q", all, c.Warnings)
		}
	}
}
