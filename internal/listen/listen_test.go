package listen_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/listen"
)

// bind returns sockets that are open until the test ends.
func bind(t *testing.T, addrs ...string) []listen.Socket {
	t.Helper()
	sockets, err := listen.Bind(addrs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range sockets {
			s.Close()
		}
	})
	return sockets
}

// reach checks that the socket accepts a connection to addr.
func reach(t *testing.T, s listen.Socket, network, addr string) {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Errorf("connect to %s, for the socket of %v: %v", addr, s.Addr, err)
		return
	}
	defer c.Close()
	ready := []unix.PollFd{{Fd: int32(s.FD), Events: unix.POLLIN}}
	if n, err := unix.Poll(ready, 5000); n != 1 {
		t.Errorf("%v: the socket has no connection to %s (%v)", s.Addr, addr, err)
		return
	}
	fd, _, err := unix.Accept4(s.FD, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Errorf("%v: accept: %v", s.Addr, err)
		return
	}
	defer unix.Close(fd)
	if network == "unix" {
		return
	}
	if v, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY); v == 0 || err != nil {
		t.Errorf("%v: TCP_NODELAY is not inherited: %d, %v", s.Addr, v, err)
	}
}

// checkFlags checks that the descriptor is non-blocking and closed on exec.
func checkFlags(t *testing.T, s listen.Socket) {
	t.Helper()
	if _, _, err := unix.Accept4(s.FD, 0); err != unix.EAGAIN {
		t.Errorf("%v: accept without a client: %v, want EAGAIN", s.Addr, err)
	}
	if f, err := unix.FcntlInt(uintptr(s.FD), unix.F_GETFD, 0); err != nil || f&unix.FD_CLOEXEC == 0 {
		t.Errorf("%v: not closed on exec (%v)", s.Addr, err)
	}
}

func port(s listen.Socket) int { return s.Addr.(*net.TCPAddr).Port }

func haveIPv6(t *testing.T) bool {
	t.Helper()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Logf("no IPv6: %v", err)
		return false
	}
	l.Close()
	return true
}

func TestBindIPv4(t *testing.T) {
	sockets := bind(t, "127.0.0.1:0", "0.0.0.0:0", "127.0.0.1:0")
	if len(sockets) != 3 {
		t.Fatalf("%d sockets, want 3", len(sockets))
	}
	for _, s := range sockets {
		if s.Passed {
			t.Errorf("%v: Passed is true", s.Addr)
		}
		checkFlags(t, s)
		reach(t, s, "tcp4", fmt.Sprintf("127.0.0.1:%d", port(s)))
	}
	if got := sockets[0].Addr.String(); !strings.HasPrefix(got, "127.0.0.1:") {
		t.Errorf("address %s, want 127.0.0.1", got)
	}
}

// TestRebind: a reload keeps the sockets of addresses that do not change, and
// changes nothing after an error.
func TestRebind(t *testing.T) {
	first := bind(t, "127.0.0.1:0")[0]
	p := port(first)
	// The configuration names the port, which is known only now.
	kept := fmt.Sprintf("127.0.0.1:%d", p)
	first.Close()
	old := bind(t, kept, "127.0.0.2:0")
	sockets, err := listen.Rebind(old, []string{"127.0.0.3:0", kept})
	if err != nil {
		t.Fatal(err)
	}
	defer sockets[0].Close()
	if len(sockets) != 2 {
		t.Fatalf("%d sockets, want 2", len(sockets))
	}
	checkKept(t, sockets[1], old[0])
	for _, s := range sockets {
		reach(t, s, "tcp4", s.Addr.String())
	}
	wildcard := fmt.Sprintf("0.0.0.0:%d", p)
	checkRefused(t, old, []string{"127.0.0.4:0", wildcard}, "this daemon uses the port")
	reach(t, old[0], "tcp4", kept)
	taken := bind(t, "127.0.0.1:0")[0].Addr.String()
	checkRefused(t, old, []string{kept, taken}, "another program uses the port")
	reach(t, old[0], "tcp4", kept)
}

// checkKept checks that Rebind has kept an old socket.
func checkKept(t *testing.T, got, old listen.Socket) {
	t.Helper()
	if got != old {
		t.Errorf("%v has descriptor %d, want the old descriptor %d of %v", got.Addr, got.FD, old.FD, old.Addr)
	}
}

// checkRefused checks that Rebind returns an error that contains want.
func checkRefused(t *testing.T, old []listen.Socket, addrs []string, want string) {
	t.Helper()
	sockets, err := listen.Rebind(old, addrs)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%q: error %v, want %q", addrs, err, want)
	}
	if sockets != nil {
		t.Errorf("%q: %d sockets after an error", addrs, len(sockets))
	}
}

// TestListener: closing the listener keeps the socket open, and leaves no other
// descriptor open.
func TestListener(t *testing.T) {
	s := bind(t, "127.0.0.1:0")[0]
	reach(t, s, "tcp4", s.Addr.String())
	before := descriptors(t)
	l, err := s.Listener()
	if err != nil {
		t.Fatal(err)
	}
	if l.Addr().String() != s.Addr.String() {
		t.Errorf("the listener is on %v, the socket on %v", l.Addr(), s.Addr)
	}
	client, err := net.Dial("tcp", s.Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	client.Close()
	l.Close()
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, want %d as before the listener", after, before)
	}
	reach(t, s, "tcp4", s.Addr.String())

	none := listen.Socket{FD: -1, Addr: s.Addr}
	if _, err := none.Listener(); err == nil || err.Error() != "duplicate "+s.Addr.String()+": bad file descriptor" {
		t.Errorf("listener without a socket: %v", err)
	}
	if err := none.Close(); err == nil || err.Error() != "close "+s.Addr.String()+": bad file descriptor" {
		t.Errorf("close without a socket: %v", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if l, err := (listen.Socket{FD: int(null.Fd()), Addr: s.Addr}).Listener(); err == nil || !strings.HasPrefix(err.Error(), "listen on "+s.Addr.String()+": ") {
		t.Errorf("listener on a device: %v, %v", l, err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

func TestBindDualStack(t *testing.T) {
	if !haveIPv6(t) {
		t.Skip("needs IPv6")
	}
	for _, addr := range []string{":0", "[::]:0"} {
		s := bind(t, addr)[0]
		checkFlags(t, s)
		reach(t, s, "tcp4", fmt.Sprintf("127.0.0.1:%d", port(s)))
		reach(t, s, "tcp6", fmt.Sprintf("[::1]:%d", port(s)))
	}
	one := bind(t, "[::1]:0")[0]
	reach(t, one, "tcp6", fmt.Sprintf("[::1]:%d", port(one)))
	// Each family has its own socket on the same port.
	p := port(one)
	one.Close()
	both := bind(t, fmt.Sprintf("0.0.0.0:%d", p), fmt.Sprintf("[::]:%d", p))
	reach(t, both[0], "tcp4", fmt.Sprintf("127.0.0.1:%d", p))
	reach(t, both[1], "tcp6", fmt.Sprintf("[::1]:%d", p))
	// A reload that removes the IPv4 address cannot make the IPv6 socket accept IPv4.
	checkRefused(t, both, []string{fmt.Sprintf("[::]:%d", p)}, "this daemon uses the port")
	// A reload that adds an IPv4 address keeps the socket of an IPv6 address.
	one = bind(t, "[::1]:0")[0]
	p = port(one)
	one.Close()
	old := bind(t, fmt.Sprintf("[::1]:%d", p))
	added, err := listen.Rebind(old, []string{fmt.Sprintf("[::1]:%d", p), fmt.Sprintf("127.0.0.1:%d", p)})
	if err != nil {
		t.Fatal(err)
	}
	checkKept(t, added[0], old[0])
	added[1].Close()
	// With an IPv4 address on another port, [::] accepts IPv4.
	apart := bind(t, "0.0.0.0:0", "[::]:0")[1]
	reach(t, apart, "tcp4", fmt.Sprintf("127.0.0.1:%d", port(apart)))
	other := bind(t, "127.0.0.1:0")[0]
	p = port(apart)
	apart.Close()
	other.Close()
	again := bind(t, fmt.Sprintf("[::]:%d", p), fmt.Sprintf("127.0.0.1:%d", port(other)))[0]
	reach(t, again, "tcp4", fmt.Sprintf("127.0.0.1:%d", p))
	reach(t, again, "tcp6", fmt.Sprintf("[::1]:%d", p))
}

// TestBindAnyHost: ":0" accepts IPv4, with and without IPv6.
func TestBindAnyHost(t *testing.T) {
	s := bind(t, ":0")[0]
	reach(t, s, "tcp4", fmt.Sprintf("127.0.0.1:%d", port(s)))
}

func TestBindName(t *testing.T) {
	sockets := bind(t, "localhost:0")
	for _, s := range sockets {
		if !s.Addr.(*net.TCPAddr).IP.IsLoopback() {
			t.Errorf("localhost: %v, want a loopback address", s.Addr)
		}
	}
}

// TestBindTimeWait: a port with connections in TIME_WAIT can be bound again
// immediately.
func TestBindTimeWait(t *testing.T) {
	s, err := listen.Bind([]string{"127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	addr := s[0].Addr.String()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	fd, _, err := unix.Accept4(s[0].FD, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd) // the side that closes first is in TIME_WAIT
	c.Read(make([]byte, 1))
	c.Close()
	if err := s[0].Close(); err != nil {
		t.Fatal(err)
	}
	bind(t, addr)
}

func TestBindErrors(t *testing.T) {
	taken := bind(t, "127.0.0.1:0")[0].Addr.String()
	_, p, _ := net.SplitHostPort(taken)
	free := bind(t, "127.0.0.1:0")[0]
	freeAddr := free.Addr.String()
	free.Close()
	cases := []struct {
		addrs []string
		want  string
	}{
		{[]string{freeAddr, taken}, "listen on " + taken + ": bind: address already in use: another program uses the port: ss -ltnp sport = :" + p + " shows it"},
		{[]string{"192.0.2.1:25252"}, "listen on 192.0.2.1:25252: bind: cannot assign requested address: this machine does not have this address: ip address shows its addresses"},
		{[]string{"127.0.0.1"}, "listen on 127.0.0.1: address 127.0.0.1: missing port in address"},
		{[]string{"127.0.0.1:x"}, `listen on 127.0.0.1:x: port "x" is not a number from 0 to 65535`},
		{[]string{"[fe80::1%no-such-link]:0"}, "listen on [fe80::1%no-such-link]:0: interface no-such-link: route ip+net: no such network interface"},
		{nil, "no address to listen on"},
	}
	for _, c := range cases {
		sockets, err := listen.Bind(c.addrs)
		if err == nil || err.Error() != c.want {
			t.Errorf("%q: error\n got %v\nwant %s", c.addrs, err, c.want)
		}
		if sockets != nil {
			t.Errorf("%q: %d sockets after an error", c.addrs, len(sockets))
		}
	}
	// The socket of the first address was closed when the second failed.
	bind(t, freeAddr)
}
