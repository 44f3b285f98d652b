package config_test

import (
	"net/netip"
	"testing"
)

// TestTrustedProxies: Match reports whether a peer is in one of the networks. By
// default this machine is trusted if auth_http is enabled, else no proxy.
func TestTrustedProxies(t *testing.T) {
	networks := mustParse(t, newMachine(), `{"GSMTP_TRUSTED_PROXIES": "192.0.2.0/24, 10.1.2.3 ,2001:db8::/32"}`)
	unix := mustParse(t, newMachine(), `{"GSMTP_TRUSTED_PROXIES": "unix"}`)
	none := mustParse(t, newMachine(), `{}`)
	nginx := mustParse(t, newMachine(), `{"NGINX_AUTH_ENABLED": "Y"}`)
	for peer, want := range map[string]bool{"127.0.0.9": true, "::1": true, "192.0.2.1": false} {
		if got := nginx.Trusted.Match(netip.MustParseAddr(peer)); got != want {
			t.Errorf("auth_http: %s is trusted: %v, want %v", peer, got, want)
		}
	}
	for _, tt := range []struct {
		peer             string
		trusted, viaUnix bool // by the list of networks, and by the word unix
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
		if got := networks.Trusted.Match(peer); got != tt.trusted {
			t.Errorf("networks: %q is trusted: %v, want %v", tt.peer, got, tt.trusted)
		}
		if got := unix.Trusted.Match(peer); got != tt.viaUnix {
			t.Errorf("unix: %q is trusted: %v, want %v", tt.peer, got, tt.viaUnix)
		}
		if none.Trusted.Match(peer) {
			t.Errorf("no proxies: %q is trusted", tt.peer)
		}
	}
	for _, every := range []string{"0.0.0.0/0", "10.0.0.0/8,::/0"} {
		if c := mustParse(t, newMachine(), `{"GSMTP_TRUSTED_PROXIES": "`+every+`"}`); len(c.Warnings) != 1 {
			t.Errorf("%s: warnings %q, want 1", every, c.Warnings)
		}
	}
}
