package authhttp_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/authhttp"
	"goguerrillad/internal/smtp"
	"goguerrillad/internal/test"
)

// spread sends n requests and returns how often each server was chosen.
func (f *fixture) spread(t *testing.T, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		got[strings.TrimPrefix(outcome(f.ask(t, request())), "OK ")]++
	}
	return got
}

func addrs(backends ...*backend) []netip.AddrPort {
	var list []netip.AddrPort
	for _, b := range backends {
		list = append(list, b.addr)
	}
	return list
}

// TestSpread: healthy backends get equally many sessions; unhealthy backends get
// none, whatever their error is.
func TestSpread(t *testing.T) {
	t.Parallel()
	one, two := newBackend(t, ready, -1), newBackend(t, ready, -1)
	down := &backend{addr: netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", test.FreePort(t)))}
	f := start(t, authhttp.Settings{Backends: addrs(one, newBackend(t, "421 full\r\n", -1), two, newBackend(t, "", -1), down, newBackend(t, "554 no\r\n", -1))})
	got := f.spread(t, 40)
	if len(got) != 2 || got[one.addr.String()] < 15 || got[two.addr.String()] < 15 {
		t.Errorf("sessions are %v, want about 20 for each of %v and %v", got, one.addr, two.addr)
	}
	if n := strings.Count(f.log.String(), "backend unhealthy"); n != 4 {
		t.Errorf("%d unhealthy backends are logged, want 4:\n%s", n, f.log.String())
	}
}

// TestNoGreeting: the log has the reason why a backend is unhealthy.
func TestNoGreeting(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ greeting, want string }{
		{"", "closed without a greeting"},
		{"220-half\r\n", "closed without a greeting"},
		{"554 no\r\n", `554 \"no\"`},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, tt.greeting)
				conn.Close()
			}
		}()
		f := start(t, authhttp.Settings{Backends: []netip.AddrPort{netip.MustParseAddrPort(l.Addr().String())}})
		if got := outcome(f.ask(t, request())); !strings.HasPrefix(got, "451 4.3.2 ") {
			t.Errorf("greeting %q: the response is %q, want 451 4.3.2", tt.greeting, got)
		}
		if want := `using the others" backend=` + l.Addr().String() + ` reason="greeting: ` + tt.want + `"`; !strings.Contains(f.log.String(), want) {
			t.Errorf("greeting %q: the log lacks %s:\n%s", tt.greeting, want, f.log.String())
		}
	}
}

// TestLeastSessions: a backend that reports fewer sessions gets the next sessions.
func TestLeastSessions(t *testing.T) {
	t.Parallel()
	busy, idle := newBackend(t, ready, 1000), newBackend(t, ready, 10)
	f := start(t, authhttp.Settings{Backends: addrs(busy, idle)})
	idle.change(t, ready, 10)
	if got := f.spread(t, 20); got[idle.addr.String()] != 20 {
		t.Errorf("sessions are %v, want all 20 for %v", got, idle.addr)
	}
	idle.change(t, ready, 2000)
	if got := f.spread(t, 20); got[busy.addr.String()] != 20 {
		t.Errorf("sessions are %v, want all 20 for %v", got, busy.addr)
	}
}

// TestSessionsDecay: a backend that is healthy again starts with no sessions. If a
// backend reports no number, its assigned sessions do not count for ever.
func TestSessionsDecay(t *testing.T) {
	t.Parallel()
	one, two := newBackend(t, ready, 1000), newBackend(t, ready, 10)
	f := start(t, authhttp.Settings{Backends: addrs(one, two)})
	if got := f.spread(t, 5); got[two.addr.String()] != 5 {
		t.Errorf("sessions are %v, want all 5 for %v", got, two.addr)
	}
	one.change(t, "", -1)
	one.change(t, ready, -1)
	if got := f.spread(t, 1); got[one.addr.String()] != 1 {
		t.Errorf("sessions are %v, want 1 for %v, which is healthy again", got, one.addr)
	}
	f.spread(t, 30)
	one.change(t, ready, -1)
	two.change(t, ready, 10)
	if got := f.spread(t, 1); got[one.addr.String()] != 1 {
		t.Errorf("sessions are %v, want 1 for %v, whose assigned sessions are old", got, one.addr)
	}
	two.change(t, ready, 1_000_000)
	if got := f.spread(t, 500); got[one.addr.String()] != 500 {
		t.Errorf("sessions are %v, want all 500 for %v", got, one.addr)
	}
	two.change(t, ready, 0)
	if got := f.spread(t, 2); got[two.addr.String()] != 2 {
		t.Errorf("sessions are %v, want both for %v, since the other has new ones", got, two.addr)
	}
}

// TestBadNumber: a number of sessions that does not fit into an int64 counts as not
// reported. A backend with the largest number would get no session.
func TestBadNumber(t *testing.T) {
	bad, good := newBackend(t, ready, -1), newBackend(t, ready, -1)
	bad.mu.Lock()
	bad.number = "99999999999999999999"
	bad.mu.Unlock()
	f := start(t, authhttp.Settings{Backends: addrs(bad, good)})
	if got := f.spread(t, 4); got[bad.addr.String()] == 0 { // two of four, or more after another check
		t.Errorf("sessions are %v, want some for %v, which reports %s", got, bad.addr, bad.number)
	}
}

// TestChecks: the interval between two checks of a healthy backend stays short.
func TestChecks(t *testing.T) {
	t.Parallel()
	b := newBackend(t, ready, 1)
	start(t, authhttp.Settings{Backends: addrs(b)})
	test.Await(t, nil, 30*time.Second, "twelve checks", func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.checks < 12 {
			return fmt.Errorf("%d checks", b.checks)
		}
		return nil
	})
}

// TestUnhealthy: clients get 451 if no backend is healthy, and a backend gets
// sessions as soon as it is healthy again.
func TestUnhealthy(t *testing.T) {
	t.Parallel()
	one, two := newBackend(t, ready, -1), newBackend(t, ready, -1)
	f := start(t, authhttp.Settings{Backends: addrs(one, two)})
	one.change(t, "", -1)
	if got := f.spread(t, 10); got[two.addr.String()] != 10 {
		t.Errorf("sessions are %v, want all 10 for %v while the other sends no greeting", got, two.addr)
	}
	two.change(t, "421 4.3.2 shutting down\r\n", -1)
	if got := f.spread(t, 1); got["451 4.3.2 No server available, try again later, wait 1"] != 1 {
		t.Errorf("responses are %v, want 451 while no backend is healthy", got)
	}
	one.change(t, ready, -1)
	if got := f.spread(t, 10); got[one.addr.String()] != 10 {
		t.Errorf("sessions are %v, want all 10 for %v, which is healthy again", got, one.addr)
	}
	for event, want := range map[string]int{"backend unhealthy": 2, "backend healthy again": 1} {
		if n := strings.Count(f.log.String(), event); n != want {
			t.Errorf("%q is in the log %d times, want %d:\n%s", event, n, want, f.log.String())
		}
	}
}

// TestLocalBackend: this daemon may be in the list. It is not chosen while it
// accepts no messages, and its current number of sessions counts.
func TestLocalBackend(t *testing.T) {
	other, local := newBackend(t, ready, 100), newBackend(t, ready, 50)
	f := start(t, authhttp.Settings{Own: []net.Addr{net.TCPAddrFromAddrPort(local.addr)}, Backends: addrs(other, local)})
	if got := f.spread(t, 10); got[local.addr.String()] != 10 {
		t.Errorf("sessions are %v, want all 10 for this daemon, which has fewer", got)
	}
	f.sessions.Store(200)
	if got := f.spread(t, 10); got[other.addr.String()] != 10 {
		t.Errorf("sessions are %v, want all 10 for %v while this daemon has more", got, other.addr)
	}
	f.sessions.Store(0)
	down := smtp.Reply{Code: 451, Enhanced: "4.3.0", Text: "Down"}
	f.refusal.Store(&down)
	if got := f.spread(t, 10); got[other.addr.String()] != 10 {
		t.Errorf("sessions are %v, want all 10 for %v while this daemon accepts no messages", got, other.addr)
	}
}

// TestLocalBackendAddress: a backend is this daemon if the daemon listens on its
// address, or if the daemon listens on the wildcard and the address is one of this
// machine. Another server of this machine with the same port is not this daemon.
func TestLocalBackendAddress(t *testing.T) {
	t.Parallel()
	down := smtp.Reply{Code: 451, Enhanced: "4.3.0", Text: "Down"}
	outside := ""
	nets, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nets {
		if p, err := netip.ParsePrefix(n.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			outside = p.Addr().String()
		}
	}
	if outside == "" {
		t.Fatal("the machine has no address but loopback")
	}
	for _, tt := range []struct {
		own, server string
		local       bool
	}{
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.0.1", "127.0.0.2", false},
		{"0.0.0.0", "127.0.0.2", true},
		{"0.0.0.0", outside, true},
		{"::", outside, true},
		{"127.0.0.1", outside, false},
		{outside, "127.0.0.1", false},
	} {
		b := newBackendAt(t, tt.server+":0", ready, -1)
		own := netip.AddrPortFrom(netip.MustParseAddr(tt.own), b.addr.Port())
		f := start(t, authhttp.Settings{Own: []net.Addr{net.TCPAddrFromAddrPort(own)}, Backends: addrs(b)})
		f.refusal.Store(&down)
		if chosen := f.spread(t, 1)[b.addr.String()] == 1; chosen == tt.local {
			t.Errorf("the daemon listens on %s and accepts no messages: backend %s is chosen: %v, want %v", tt.own, tt.server, chosen, !tt.local)
		}
		f.refusal.Store(nil)
		if got := f.spread(t, 1); got[b.addr.String()] != 1 {
			t.Errorf("the daemon listens on %s: responses are %v, want backend %v", tt.own, got, b.addr)
		}
	}
}

// TestProxyBackends: with ProxyProtocol, a check begins with a PROXY header of
// command LOCAL.
func TestProxyBackends(t *testing.T) {
	b := newBackend(t, ready, 10)
	b.mu.Lock()
	b.proxy = true
	b.mu.Unlock()
	f := start(t, authhttp.Settings{ProxyProtocol: true, Backends: addrs(b)})
	if got := f.spread(t, 3); got[b.addr.String()] != 3 {
		t.Errorf("sessions are %v, want all 3 for %v", got, b.addr)
	}
}

// TestReloadBackends: a backend that a reload removes gets no more sessions, and a
// backend that stays keeps its state.
func TestReloadBackends(t *testing.T) {
	t.Parallel()
	one, two := newBackend(t, ready, -1), newBackend(t, ready, -1)
	down := &backend{addr: netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", test.FreePort(t)))}
	f := start(t, authhttp.Settings{Backends: addrs(one)})
	if got := f.spread(t, 4); got[one.addr.String()] != 4 {
		t.Errorf("sessions are %v, want all 4 for %v", got, one.addr)
	}
	f.Reload(authhttp.Settings{Backends: addrs(two)})
	if got := f.spread(t, 4); got[two.addr.String()] != 4 {
		t.Errorf("sessions are %v, want all 4 for %v", got, two.addr)
	}
	// The unhealthy backend is logged once, since it keeps its state.
	f.Reload(authhttp.Settings{Backends: addrs(two, down)})
	f.spread(t, 1)
	f.Reload(authhttp.Settings{Backends: addrs(down, two)})
	if got := f.spread(t, 4); got[two.addr.String()] != 4 {
		t.Errorf("in another order, sessions are %v, want all 4 for %v", got, two.addr)
	}
	if n := strings.Count(f.log.String(), "backend unhealthy"); n != 1 {
		t.Errorf("%d unhealthy backends are logged, want 1:\n%s", n, f.log.String())
	}
	f.Reload(authhttp.Settings{Own: []net.Addr{tcp("192.0.2.1:25")}})
	if got := f.spread(t, 1); got["192.0.2.1:25"] != 1 {
		t.Errorf("without backends, the responses are %v, want 192.0.2.1:25", got)
	}
}
