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

// spread asks n times and returns how often each server was named.
func (f *fixture) spread(t *testing.T, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		got[strings.TrimPrefix(verdict(f.ask(t, usual())), "OK ")]++
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

// TestSpread: servers that are well share alike; those that are not get
// nothing, whatever ails them.
func TestSpread(t *testing.T) {
	t.Parallel()
	one, two := newBackend(t, well, -1), newBackend(t, well, -1)
	dead := &backend{addr: netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", test.FreePort(t)))}
	f := start(t, authhttp.Settings{Backends: addrs(one, newBackend(t, "421 full\r\n", -1), two, newBackend(t, "", -1), dead, newBackend(t, "554 no\r\n", -1))})
	got := f.spread(t, 40)
	if len(got) != 2 || got[one.addr.String()] < 15 || got[two.addr.String()] < 15 {
		t.Errorf("spread over %v and %v: %v", one.addr, two.addr, got)
	}
	if n := strings.Count(f.log.String(), "backend does not answer"); n != 4 {
		t.Errorf("logged %d times:\n%s", n, f.log.String())
	}
}

// TestNoGreeting: the log has the reason why a server is left out.
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
		if got := verdict(f.ask(t, usual())); !strings.HasPrefix(got, "451 4.3.2 ") {
			t.Errorf("%q: %s", tt.greeting, got)
		}
		if want := `sessions go elsewhere" backend=` + l.Addr().String() + ` error="greeting: ` + tt.want + `"`; !strings.Contains(f.log.String(), want) {
			t.Errorf("%q: %s is not in the log:\n%s", tt.greeting, want, f.log.String())
		}
	}
}

// TestLeastSessions: who says that it has fewer sessions gets the next ones,
// until it has as many.
func TestLeastSessions(t *testing.T) {
	t.Parallel()
	busy, idle := newBackend(t, well, 1000), newBackend(t, well, 10)
	f := start(t, authhttp.Settings{Backends: addrs(busy, idle)})
	idle.become(t, well, 10)
	if got := f.spread(t, 20); got[idle.addr.String()] != 20 {
		t.Errorf("busy is %v: %v", busy.addr, got)
	}
	idle.become(t, well, 2000)
	if got := f.spread(t, 20); got[busy.addr.String()] != 20 {
		t.Errorf("busy is %v: %v", idle.addr, got)
	}
}

// TestForgottenSessions: a server that returns begins without the sessions that it
// had, and one that reports no number is not charged for ever for those that were
// sent to it.
func TestForgottenSessions(t *testing.T) {
	t.Parallel()
	one, two := newBackend(t, well, 1000), newBackend(t, well, 10)
	f := start(t, authhttp.Settings{Backends: addrs(one, two)})
	if got := f.spread(t, 5); got[two.addr.String()] != 5 {
		t.Errorf("%v has more sessions: %v", one.addr, got)
	}
	one.become(t, "", -1)
	one.become(t, well, -1)
	if got := f.spread(t, 1); got[one.addr.String()] != 1 {
		t.Errorf("%v has come back: %v", one.addr, got)
	}
	f.spread(t, 30)
	one.become(t, well, -1)
	two.become(t, well, 10)
	if got := f.spread(t, 1); got[one.addr.String()] != 1 {
		t.Errorf("sessions were sent to %v some time ago: %v", one.addr, got)
	}
	two.become(t, well, 1_000_000)
	if got := f.spread(t, 500); got[one.addr.String()] != 500 {
		t.Errorf("%v has more sessions: %v", two.addr, got)
	}
	two.become(t, well, 0)
	if got := f.spread(t, 2); got[two.addr.String()] != 2 {
		t.Errorf("sessions were sent to %v just now: %v", one.addr, got)
	}
}

// TestBadNumber: a number of sessions that no counter holds counts as not reported. A
// server with the largest number would receive no session.
func TestBadNumber(t *testing.T) {
	bad, good := newBackend(t, well, -1), newBackend(t, well, -1)
	bad.mu.Lock()
	bad.number = "99999999999999999999"
	bad.mu.Unlock()
	f := start(t, authhttp.Settings{Backends: addrs(bad, good)})
	if got := f.spread(t, 4); got[bad.addr.String()] == 0 { // two, or more if a check comes between
		t.Errorf("%s sessions at %v: %v", bad.number, bad.addr, got)
	}
}

// TestChecks: a server that is well is checked at the same short interval.
func TestChecks(t *testing.T) {
	t.Parallel()
	b := newBackend(t, well, 1)
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

// TestDeadAndBack: when all are dead the client is told to try again later, and
// each comes back by itself.
func TestDeadAndBack(t *testing.T) {
	t.Parallel()
	one, two := newBackend(t, well, -1), newBackend(t, well, -1)
	f := start(t, authhttp.Settings{Backends: addrs(one, two)})
	one.become(t, "", -1)
	if got := f.spread(t, 10); got[two.addr.String()] != 10 {
		t.Errorf("one is hung: %v", got)
	}
	two.become(t, "421 4.3.2 shutting down\r\n", -1)
	if got := f.spread(t, 1); got["451 4.3.2 No server available, try again later, wait 1"] != 1 {
		t.Errorf("all dead: %v", got)
	}
	one.become(t, well, -1)
	if got := f.spread(t, 10); got[one.addr.String()] != 10 {
		t.Errorf("one is back: %v", got)
	}
	for event, want := range map[string]int{"backend does not answer": 2, "backend answers again": 1} {
		if n := strings.Count(f.log.String(), event); n != want {
			t.Errorf("the log has %q %d times, want %d:\n%s", event, n, want, f.log.String())
		}
	}
}

// TestItself: this daemon may stand in the list. It is left out while it takes
// no mail, and the sessions that it has now count.
func TestItself(t *testing.T) {
	other, self := newBackend(t, well, 100), newBackend(t, well, 50)
	f := start(t, authhttp.Settings{Own: []net.Addr{net.TCPAddrFromAddrPort(self.addr)}, Backends: addrs(other, self)})
	if got := f.spread(t, 10); got[self.addr.String()] != 10 {
		t.Errorf("itself is idle: %v", got)
	}
	f.sessions.Store(200)
	if got := f.spread(t, 10); got[other.addr.String()] != 10 {
		t.Errorf("itself is busy: %v", got)
	}
	f.sessions.Store(0)
	down := smtp.Reply{Code: 451, Enhanced: "4.3.0", Text: "Down"}
	f.refusal.Store(&down)
	if got := f.spread(t, 10); got[other.addr.String()] != 10 {
		t.Errorf("itself is down: %v", got)
	}
}

// TestItselfByAddress: a server of the list is this daemon if the daemon listens at
// its address, or at the wildcard and the address is the machine's. Another server
// of this machine with the same port is not.
func TestItselfByAddress(t *testing.T) {
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
		itself      bool
	}{
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.0.1", "127.0.0.2", false},
		{"0.0.0.0", "127.0.0.2", true},
		{"0.0.0.0", outside, true},
		{"::", outside, true},
		{"127.0.0.1", outside, false},
		{outside, "127.0.0.1", false},
	} {
		b := newBackendAt(t, tt.server+":0", well, -1)
		own := netip.AddrPortFrom(netip.MustParseAddr(tt.own), b.addr.Port())
		f := start(t, authhttp.Settings{Own: []net.Addr{net.TCPAddrFromAddrPort(own)}, Backends: addrs(b)})
		f.refusal.Store(&down)
		if chosen := f.spread(t, 1)[b.addr.String()] == 1; chosen == tt.itself {
			t.Errorf("the daemon listens at %s and takes no mail, the server is %s: it is chosen: %v", tt.own, tt.server, chosen)
		}
		f.refusal.Store(nil)
		if got := f.spread(t, 1); got[b.addr.String()] != 1 {
			t.Errorf("the daemon listens at %s, the server is %s: %v", tt.own, tt.server, got)
		}
	}
}

// TestProxyBackends: servers that want a PROXY header get one, which says that the
// check is our own.
func TestProxyBackends(t *testing.T) {
	b := newBackend(t, well, 10)
	b.mu.Lock()
	b.proxy = true
	b.mu.Unlock()
	f := start(t, authhttp.Settings{ProxyProtocol: true, Backends: addrs(b)})
	if got := f.spread(t, 3); got[b.addr.String()] != 3 {
		t.Errorf("with a header: %v", got)
	}
}

// TestReloadBackends: a server that is taken from the list gets nothing more.
func TestReloadBackends(t *testing.T) {
	t.Parallel()
	one, two := newBackend(t, well, -1), newBackend(t, well, -1)
	dead := &backend{addr: netip.MustParseAddrPort(fmt.Sprintf("127.0.0.1:%d", test.FreePort(t)))}
	f := start(t, authhttp.Settings{Backends: addrs(one)})
	if got := f.spread(t, 4); got[one.addr.String()] != 4 {
		t.Errorf("one alone: %v", got)
	}
	f.Reload(authhttp.Settings{Backends: addrs(two)})
	if got := f.spread(t, 4); got[two.addr.String()] != 4 {
		t.Errorf("two alone: %v", got)
	}
	// What is known of a server stays with it.
	f.Reload(authhttp.Settings{Backends: addrs(two, dead)})
	f.spread(t, 1)
	f.Reload(authhttp.Settings{Backends: addrs(dead, two)})
	if got := f.spread(t, 4); got[two.addr.String()] != 4 {
		t.Errorf("another order: %v", got)
	}
	if n := strings.Count(f.log.String(), "backend does not answer"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, f.log.String())
	}
	f.Reload(authhttp.Settings{Own: []net.Addr{tcp("192.0.2.1:25")}})
	if got := f.spread(t, 1); got["192.0.2.1:25"] != 1 {
		t.Errorf("none: %v", got)
	}
}
