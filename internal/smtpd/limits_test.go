package smtpd

import (
	"net/netip"
	"testing"
)

func TestCountedAddr(t *testing.T) {
	for a, want := range map[string]string{
		"192.0.2.1":           "192.0.2.1",
		"2001:db8:0:1::1":     "2001:db8:0:1::",
		"2001:db8:0:1:f::f":   "2001:db8:0:1::",
		"2001:db8:0:2::1":     "2001:db8:0:2::",
		"fe80::1%eth0":        "fe80::",
		"::ffff:192.0.2.1":    "192.0.2.1",
		"::ffff:192.0.2.1%ab": "192.0.2.1",
	} {
		if got := countedAddr(netip.MustParseAddr(a)).String(); got != want {
			t.Errorf("countedAddr(%s) = %s, want %s", a, got, want)
		}
	}
}

func TestLimiter(t *testing.T) {
	l := limiter{perIP: map[netip.Addr]int{}}
	a := netip.MustParseAddr("192.0.2.1")
	for i := range 3 {
		if got, want := l.add(a, 2), i < 2; got != want {
			t.Errorf("add of session %d returned %v, want %v", i+1, got, want)
		}
	}
	l.remove(a)
	l.remove(a)
	if len(l.perIP) != 0 {
		t.Errorf("addresses without sessions are kept: %v", l.perIP)
	}
}
