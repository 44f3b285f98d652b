package listen_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/listen"
)

// bind binds for the time of the test.
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

// reach connects and checks that the connection arrives at the socket.
func reach(t *testing.T, s listen.Socket, network, addr string) {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Errorf("%v does not take %s: %v", s.Addr, addr, err)
		return
	}
	defer c.Close()
	ready := []unix.PollFd{{Fd: int32(s.FD), Events: unix.POLLIN}}
	if n, err := unix.Poll(ready, 5000); n != 1 {
		t.Errorf("%v: the connection to %s went elsewhere (%v)", s.Addr, addr, err)
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

// checkFlags wants a descriptor that neither blocks nor survives an exec.
func checkFlags(t *testing.T, s listen.Socket) {
	t.Helper()
	if _, _, err := unix.Accept4(s.FD, 0); err != unix.EAGAIN {
		t.Errorf("%v: accept without a client gives %v", s.Addr, err)
	}
	if f, err := unix.FcntlInt(uintptr(s.FD), unix.F_GETFD, 0); err != nil || f&unix.FD_CLOEXEC == 0 {
		t.Errorf("%v: is not closed on exec: %v", s.Addr, err)
	}
}

func port(s listen.Socket) int { return s.Addr.(*net.TCPAddr).Port }

func haveIPv6(t *testing.T) bool {
	t.Helper()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Logf("no IPv6 here: %v", err)
		return false
	}
	l.Close()
	return true
}

func TestBindIPv4(t *testing.T) {
	sockets := bind(t, "127.0.0.1:0", "0.0.0.0:0", "127.0.0.1:0")
	if len(sockets) != 3 {
		t.Fatalf("got %d sockets", len(sockets))
	}
	for _, s := range sockets {
		if s.Passed {
			t.Errorf("%v is said to come from systemd", s.Addr)
		}
		checkFlags(t, s)
		reach(t, s, "tcp4", fmt.Sprintf("127.0.0.1:%d", port(s)))
	}
	if got := sockets[0].Addr.String(); !strings.HasPrefix(got, "127.0.0.1:") {
		t.Errorf("address is %s", got)
	}
}

// TestRebind changes the addresses under a daemon that runs: what stays is not
// bound again, which could not work, and an error leaves all as it was.
func TestRebind(t *testing.T) {
	first := bind(t, "127.0.0.1:0")[0]
	p := port(first)
	// The port is known only now: this is what the file would say.
	given := fmt.Sprintf("127.0.0.1:%d", p)
	first.Close()
	old := bind(t, given, "127.0.0.2:0")
	sockets, err := listen.Rebind(old, []string{"127.0.0.3:0", given})
	if err != nil {
		t.Fatal(err)
	}
	defer sockets[0].Close()
	if len(sockets) != 2 || sockets[1] != old[0] {
		t.Errorf("%v, want a new one and %v", sockets, old[0])
	}
	for _, s := range sockets {
		reach(t, s, "tcp4", s.Addr.String())
	}
	wildcard := fmt.Sprintf("0.0.0.0:%d", p)
	if got, err := listen.Rebind(old, []string{"127.0.0.4:0", wildcard}); err == nil || !strings.Contains(err.Error(), "this daemon") {
		t.Errorf("%v, %v: want an error that says who has the port", got, err)
	}
	reach(t, old[0], "tcp4", given)
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
	// Both families on one port, each with a socket of its own.
	p := port(one)
	one.Close()
	both := bind(t, fmt.Sprintf("0.0.0.0:%d", p), fmt.Sprintf("[::]:%d", p))
	reach(t, both[0], "tcp4", fmt.Sprintf("127.0.0.1:%d", p))
	reach(t, both[1], "tcp6", fmt.Sprintf("[::1]:%d", p))
}

func TestBindAnyHost(t *testing.T) {
	// ":0" works with and without IPv6.
	s := bind(t, ":0")[0]
	reach(t, s, "tcp4", fmt.Sprintf("127.0.0.1:%d", port(s)))
}

func TestBindName(t *testing.T) {
	sockets := bind(t, "localhost:0")
	for _, s := range sockets {
		if !s.Addr.(*net.TCPAddr).IP.IsLoopback() {
			t.Errorf("localhost is %v", s.Addr)
		}
	}
}

func TestBindAgain(t *testing.T) {
	// A port with connections in TIME_WAIT can be bound again at once.
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
	unix.Close(fd) // we close first, so TIME_WAIT is ours
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
		{[]string{freeAddr, taken}, "listen on " + taken + ": bind: address already in use: another program has the port, ss -ltnp sport = :" + p + " shows which"},
		{[]string{"192.0.2.1:25252"}, "listen on 192.0.2.1:25252: bind: cannot assign requested address: this machine does not have this address, ip address shows those it has"},
		{[]string{"127.0.0.1"}, "listen on 127.0.0.1: address 127.0.0.1: missing port in address"},
		{[]string{"127.0.0.1:x"}, `listen on 127.0.0.1:x: "x" is no port`},
		{[]string{"[fe80::1%no-such-link]:0"}, "listen on [fe80::1%no-such-link]:0: interface no-such-link: route ip+net: no such network interface"},
		{nil, "there is no address to listen on"},
	}
	for _, c := range cases {
		sockets, err := listen.Bind(c.addrs)
		if err == nil || err.Error() != c.want || sockets != nil {
			t.Errorf("%q\n got %v, %v\nwant %s", c.addrs, sockets, err, c.want)
		}
	}
	// The first of the list was given back when the second failed.
	bind(t, freeAddr)
}

// The two tests that follow run this one in a process of its own, as systemd
// or as a user without rights would.
func TestHelper(t *testing.T) {
	addr := os.Getenv("LISTEN_TEST_ADDR")
	if addr == "" {
		return // nothing by itself
	}
	if os.Getenv("LISTEN_TEST_ACTIVATED") != "" {
		os.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
	}
	if os.Getenv("LISTEN_TEST_NOBODY") != "" {
		if err := syscall.Setuid(65534); err != nil {
			t.Fatal(err)
		}
	}
	passed, err := listen.Passed("smtp", "auth_http")
	if err == nil && len(passed) == 0 {
		passed = map[string][]listen.Socket{}
		passed["smtp"], err = listen.Bind([]string{addr})
	}
	if err != nil {
		fmt.Printf("error: %v\n", err)
		return
	}
	for _, name := range []string{"smtp", "auth_http"} {
		for _, s := range passed[name] {
			checkFlags(t, s)
			fmt.Printf("%s: %s %v\n", name, s.Addr, s.Passed)
		}
	}
	if os.Getenv("LISTEN_FDS") != "" || os.Getenv("LISTEN_FDNAMES") != "" {
		t.Error("the environment would be inherited by children")
	}
}

// helper runs TestHelper and returns what it said.
func helper(t *testing.T, files []*os.File, attr *syscall.SysProcAttr, env ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelper$")
	cmd.ExtraFiles = files
	cmd.SysProcAttr = attr
	cmd.Env = append(cmd.Environ(), append([]string{"LISTEN_TEST_ADDR=127.0.0.1:0", "NOTIFY_SOCKET=", "GORACE=atexit_sleep_ms=0"}, env...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr.String())
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(out), "PASS\n"), "\n")
}

// file is a duplicate of what a listener or connection uses.
func file(t *testing.T, from interface{ File() (*os.File, error) }) *os.File {
	t.Helper()
	f, err := from.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestActivation(t *testing.T) {
	one := listenOn(t, "tcp4", "127.0.0.1:0")
	two := listenOn(t, "tcp", "127.0.0.1:0")
	path := listenOn(t, "unix", filepath.Join(t.TempDir(), "smtp.sock"))
	f2 := file(t, two.(*net.TCPListener))
	f3 := file(t, path.(*net.UnixListener))
	client, err := net.Dial("tcp", one.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	connected := file(t, client.(*net.TCPConn))
	datagram, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer datagram.Close()
	udp := file(t, datagram.(*net.UDPConn))
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()

	const rename = ": set FileDescriptorName= in its socket unit to smtp or auth_http (systemd-socket-activate: --fdname=)"
	const noStream = ": it does not listen for streams: its socket unit needs ListenStream= and Accept=no"
	cases := []struct {
		files []*os.File
		names string
		want  string
	}{
		{[]*os.File{f2}, "smtp", "smtp: " + two.Addr().String() + " true"},
		{[]*os.File{f2, f3}, "smtp:smtp", "smtp: " + two.Addr().String() + " true\nsmtp: " + path.Addr().String() + " true"},
		{[]*os.File{f2, f3}, "auth_http:smtp", "smtp: " + path.Addr().String() + " true\nauth_http: " + two.Addr().String() + " true"},
		{[]*os.File{f2, f3}, "smtp:goguerrillad.socket", `error: socket 2 of 2 from systemd: it is named "goguerrillad.socket"` + rename},
		{[]*os.File{f2}, "", "error: socket 1 of 1 from systemd: it has no name" + rename},
		{[]*os.File{f2, f3}, "smtp", "error: socket 2 of 2 from systemd: it has no name" + rename},
		{[]*os.File{connected}, "smtp", "error: socket 1 of 1 from systemd" + noStream},
		{[]*os.File{udp}, "smtp", "error: socket 1 of 1 from systemd" + noStream},
		{[]*os.File{null}, "smtp", "error: socket 1 of 1 from systemd" + noStream},
	}
	for _, c := range cases {
		got := helper(t, c.files, nil, "LISTEN_TEST_ACTIVATED=1",
			fmt.Sprintf("LISTEN_FDS=%d", len(c.files)), "LISTEN_FDNAMES="+c.names)
		if got != c.want {
			t.Errorf("%q\n got %s\nwant %s", c.names, got, c.want)
		}
	}
	// Sockets that were meant for another process are not ours.
	got := helper(t, []*os.File{f2}, nil, "LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=smtp")
	if !strings.HasPrefix(got, "smtp: 127.0.0.1:") || !strings.HasSuffix(got, " false") {
		t.Errorf("LISTEN_PID of another process: %s", got)
	}
}

func listenOn(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestWithoutRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("has to become another user: needs root")
	}
	// A network namespace of its own, where ports under 1024 are privileged
	// whatever this machine has in net.ipv4.ip_unprivileged_port_start.
	run := func(env string) string {
		return helper(t, nil, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET},
			"LISTEN_TEST_ADDR=0.0.0.0:25", "LISTEN_TEST_NOBODY=1", env)
	}
	for env, want := range map[string]string{
		"NOTIFY_SOCKET=":   "error: listen on 0.0.0.0:25: bind: permission denied: ports under 1024 need root, CAP_NET_BIND_SERVICE, or a socket from systemd",
		"NOTIFY_SOCKET=@x": "error: listen on 0.0.0.0:25: bind: permission denied: no socket came from systemd: systemctl start goguerrillad.socket",
	} {
		if got := run(env); got != want {
			t.Errorf("%s\n got %s\nwant %s", env, got, want)
		}
	}
}
