package listen_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/listen"
	"goguerrillad/internal/test"
)

// TestHelper is not a test. The tests below run it in another process, with sockets from
// systemd or in a confined environment. It binds sockets and prints them.
func TestHelper(t *testing.T) {
	addr := os.Getenv("LISTEN_TEST_ADDR")
	if addr == "" {
		return
	}
	if os.Getenv("LISTEN_TEST_ACTIVATED") != "" {
		os.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
	}
	confine(t)
	passed, err := listen.Passed("smtp", "auth_http")
	if err == nil && len(passed) == 0 {
		passed = map[string][]listen.Socket{}
		passed["smtp"], err = listen.Bind(strings.Split(addr, ","))
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
		t.Error("children would inherit LISTEN_FDS and LISTEN_FDNAMES")
	}
}

// confine restricts the process of TestHelper as the LISTEN_TEST_* variables specify.
func confine(t *testing.T) {
	t.Helper()
	do := func(name string, f func(value string) error) {
		if value := os.Getenv("LISTEN_TEST_" + name); value != "" {
			if err := f(value); err != nil {
				t.Fatalf("%s=%s: %v", name, value, err)
			}
		}
	}
	do("LOOPBACK", func(string) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		lo, err := unix.NewIfreq("lo")
		if err != nil {
			return err
		}
		lo.SetUint16(unix.IFF_UP)
		return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
	})
	do("LINK_LOCAL", func(address string) error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		lo, err := net.InterfaceByName("lo")
		if err != nil {
			return err
		}
		request := struct { // netdevice(7)
			addr   [16]byte
			prefix uint32
			index  int32
		}{netip.MustParseAddr(address).As16(), 64, int32(lo.Index)}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFADDR, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return errno
		}
		// The address can be bound a moment later.
		test.Await(t, nil, 20*time.Second, "waiting for "+address, func() error {
			l, err := net.Listen("tcp", "["+address+"%lo]:0")
			if err != nil {
				return err
			}
			return l.Close()
		})
		return nil
	})
	do("HOSTS", func(file string) error { return unix.Mount(file, "/etc/hosts", "", unix.MS_BIND, "") })
	do("FIRST_PORT", func(port string) error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte(port), 0)
	})
	do("WITHOUT_IPV6", func(string) error {
		code := []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the system call
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SOCKET, Jf: 3},
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16}, // its first argument
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.AF_INET6, Jf: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		}
		program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
		_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
		if errno != 0 {
			return errno
		}
		return nil
	})
	do("FILES", func(limit string) error {
		n, err := strconv.ParseUint(limit, 10, 64)
		if err != nil {
			return err
		}
		return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n})
	})
	do("NOBODY", func(string) error { return syscall.Setuid(65534) })
}

// helper runs TestHelper and returns its output.
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

// file returns a duplicate of the descriptor of a listener or connection.
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
	packets := file(t, listenOn(t, "unixpacket", filepath.Join(t.TempDir(), "packets.sock")).(*net.UnixListener))
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()

	const setName = ": set FileDescriptorName= in its socket unit to smtp or auth_http (systemd-socket-activate: --fdname=)"
	const notListening = ": not a listening stream socket: its socket unit needs ListenStream= and Accept=no"
	type activation struct {
		files []*os.File
		names string
		want  string
	}
	cases := []activation{
		{[]*os.File{f2}, "smtp", "smtp: " + two.Addr().String() + " true"},
		{[]*os.File{f2, f3}, "smtp:smtp", "smtp: " + two.Addr().String() + " true\nsmtp: " + path.Addr().String() + " true"},
		{[]*os.File{f2, f3}, "auth_http:smtp", "smtp: " + path.Addr().String() + " true\nauth_http: " + two.Addr().String() + " true"},
		{[]*os.File{f2, f3}, "smtp:goguerrillad.socket", `error: socket 2 of 2 from systemd: unknown name "goguerrillad.socket"` + setName},
		{[]*os.File{f2}, "", "error: socket 1 of 1 from systemd: no name" + setName},
		{[]*os.File{f2, f3}, "smtp", "error: socket 2 of 2 from systemd: no name" + setName},
		{[]*os.File{connected}, "smtp", "error: socket 1 of 1 from systemd" + notListening},
		{[]*os.File{udp}, "smtp", "error: socket 1 of 1 from systemd" + notListening},
		{[]*os.File{packets}, "smtp", "error: socket 1 of 1 from systemd" + notListening},
		{[]*os.File{null}, "smtp", "error: socket 1 of 1 from systemd" + notListening},
	}
	if f := listenOnVsock(t); f != nil {
		cases = append(cases, activation{[]*os.File{f}, "smtp", "error: socket 1 of 1 from systemd: not a TCP or unix socket"})
	}
	for _, c := range cases {
		got := helper(t, c.files, nil, "LISTEN_TEST_ACTIVATED=1",
			fmt.Sprintf("LISTEN_FDS=%d", len(c.files)), "LISTEN_FDNAMES="+c.names)
		if got != c.want {
			t.Errorf("%q\n got %s\nwant %s", c.names, got, c.want)
		}
	}
	// A process ignores sockets that systemd has passed to another process.
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

// listenOnVsock returns a listening stream socket that is not a TCP or unix socket,
// or nil if the kernel has no vsock.
func listenOnVsock(t *testing.T) *os.File {
	t.Helper()
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Logf("no vsock: %v", err)
		return nil
	}
	f := os.NewFile(uintptr(fd), "vsock")
	t.Cleanup(func() { f.Close() })
	if err := unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: unix.VMADDR_PORT_ANY}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestConfined checks the errors of addresses that the kernel refuses, and names with
// addresses that cannot be bound.
func TestConfined(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte(`127.0.0.1 home.test
192.0.2.1 away.test
127.0.0.1 both.test
192.0.2.1 both.test
192.0.2.1 nowhere.test
192.0.2.2 nowhere.test
127.0.0.1 twice.test
127.0.0.1 twice.test
127.0.0.1 families.test
::1 families.test
`), 0o644); err != nil {
		t.Fatal(err)
	}
	const (
		home      = "smtp: 127.0.0.1:PORT false"
		denied    = ": bind: permission denied"
		low       = denied + ": ports below 1024 need root, CAP_NET_BIND_SERVICE or a socket from systemd"
		noSocket  = denied + ": no socket from systemd: run systemctl start goguerrillad.socket"
		notHere   = ": bind: cannot assign requested address: this machine does not have this address: ip address shows its addresses"
		noFamily  = ": socket: address family not supported by protocol: the kernel or RestrictAddressFamilies= of the systemd unit does not allow this kind of address"
		noFiles   = ": socket: too many open files"
		nobody    = "NOBODY=1"
		noIPv6    = "WITHOUT_IPV6=1"
		withHosts = "HOSTS="
	)
	withNames := withHosts + hosts
	for _, c := range []struct {
		addrs, want string
		env         []string
	}{
		{"0.0.0.0:25", "error: listen on 0.0.0.0:25" + low, []string{nobody}},
		{"0.0.0.0:25", "error: listen on 0.0.0.0:25" + noSocket, []string{nobody, "NOTIFY_SOCKET=@x"}},
		{"0.0.0.0:1023", "error: listen on 0.0.0.0:1023" + low, []string{nobody, "FIRST_PORT=2000"}},
		{"0.0.0.0:1024", "error: listen on 0.0.0.0:1024" + denied, []string{nobody, "FIRST_PORT=2000"}},
		{"home.test:0", home, []string{withNames}},
		{"both.test:0", home, []string{withNames}},
		{"twice.test:0", home, []string{withNames}},
		{"away.test:0,127.0.0.1:0", "error: listen on away.test:0" + notHere, []string{withNames}},
		{"nowhere.test:0,127.0.0.1:0", home, []string{withNames}},
		{"nowhere.test:0", "error: listen on nowhere.test:0" + notHere, []string{withNames}},
		{"families.test:0", home, []string{withNames, noIPv6}},
		{":0", "smtp: 0.0.0.0:PORT false", []string{noIPv6}},
		{"[::]:0", "error: listen on [::]:0" + noFamily, []string{noIPv6}},
		{"[fe80::1%lo]:0", "smtp: [fe80::1%lo]:PORT false", []string{"LINK_LOCAL=fe80::1"}},
		{"127.0.0.1:0", "error: listen on 127.0.0.1:0" + noFiles, []string{"FILES=0"}},
		{"[::1]:0", "error: listen on [::1]:0" + noFiles, []string{"FILES=0"}},
	} {
		if strings.HasPrefix(c.addrs, "[fe80:") && !haveIPv6(t) {
			continue
		}
		// A new network namespace has only the addresses 127.0.0.1 and ::1, and
		// ports below 1024 are privileged there.
		attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS}
		env := []string{"LISTEN_TEST_ADDR=" + c.addrs, "LISTEN_TEST_LOOPBACK=1"}
		for _, e := range c.env {
			if !strings.HasPrefix(e, "NOTIFY_SOCKET=") {
				e = "LISTEN_TEST_" + e
			}
			env = append(env, e)
		}
		got := regexp.MustCompile(`:\d+ false`).ReplaceAllString(helper(t, nil, attr, env...), ":PORT false")
		if got != c.want {
			t.Errorf("%s, %q\n got %s\nwant %s", c.addrs, c.env, got, c.want)
		}
	}
	const unknown = "none.invalid:0"
	got := helper(t, nil, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}, "LISTEN_TEST_ADDR="+unknown)
	if !strings.HasPrefix(got, "error: listen on "+unknown+": lookup none.invalid") ||
		!strings.HasSuffix(got, ": use an IP address, or add the name to /etc/hosts") {
		t.Errorf("%s: got %s", unknown, got)
	}
}
