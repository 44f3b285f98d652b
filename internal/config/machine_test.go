package config_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"goguerrillad/internal/config"
)

// TestMachineHelper prints the name and the memory of Machine. The tests below run
// it in a process with its own host name, hosts file, DNS and cgroup.
func TestMachineHelper(t *testing.T) {
	name := os.Getenv("CONFIG_TEST_NAME")
	if name == "" {
		return // runs only in the process that runHelper starts
	}
	dir, limit := os.Getenv("CONFIG_TEST_DIR"), os.Getenv("CONFIG_TEST_LIMIT")
	if err := errors.Join(
		unix.Sethostname([]byte(name)),
		unix.Mount(filepath.Join(dir, "hosts"), "/etc/hosts", "", unix.MS_BIND, ""),
		unix.Mount(filepath.Join(dir, "cgroup"), "/proc/self/cgroup", "", unix.MS_BIND, ""),
		unix.Mount("none", "/sys/fs/cgroup", "tmpfs", 0, ""),
		os.Mkdir("/sys/fs/cgroup/v1", 0o700),
		os.WriteFile("/sys/fs/cgroup/v1/memory.max", []byte("2"), 0o600),
		os.Mkdir("/sys/fs/cgroup/v2", 0o700),
		os.WriteFile("/sys/fs/cgroup/v2/memory.max", []byte(limit), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		canonical := os.Getenv("CONFIG_TEST_CANONICAL")
		if canonical == "" {
			return nil, errors.New("no DNS")
		}
		client, server := net.Pipe()
		go answer(server, canonical)
		return client, nil
	}}
	env := config.Machine()
	fmt.Println(env.FQDN(), env.Memory())
}

// answer replies to one DNS query over TCP: the name is an alias of the canonical
// name.
func answer(c net.Conn, canonical string) {
	defer c.Close()
	length := make([]byte, 2)
	if _, err := io.ReadFull(c, length); err != nil {
		return
	}
	query := make([]byte, int(length[0])<<8|int(length[1]))
	if _, err := io.ReadFull(c, query); err != nil {
		return
	}
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return
	}
	header := func(name dnsmessage.Name) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 60}
	}
	name := dnsmessage.MustNewName(canonical)
	m.Response, m.Additionals = true, nil
	m.Answers = []dnsmessage.Resource{
		{Header: header(m.Questions[0].Name), Body: &dnsmessage.CNAMEResource{CNAME: name}},
		{Header: header(name), Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}},
	}
	reply, err := m.Pack()
	if err != nil {
		return
	}
	_, _ = c.Write(append([]byte{byte(len(reply) >> 8), byte(len(reply))}, reply...))
}

// runHelper runs TestMachineHelper and returns the line that it prints.
func runHelper(t *testing.T, name, hosts, canonical, limit string) string {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "hosts"), []byte(hosts), 0o644),
		os.WriteFile(filepath.Join(dir, "cgroup"), []byte("1:memory:/v1\n0::/v2/service\n"), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestMachineHelper$")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUTS, Unshareflags: syscall.CLONE_NEWNS}
	cmd.Env = append(cmd.Environ(), "GORACE=atexit_sleep_ms=0", "CONFIG_TEST_NAME="+name, "CONFIG_TEST_DIR="+dir,
		"CONFIG_TEST_CANONICAL="+canonical, "CONFIG_TEST_LIMIT="+limit)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

// TestMachineName: the name is the host name if it has a dot, else the full name in
// the hosts file, else the canonical name in DNS.
func TestMachineName(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to change the host name")
	}
	const hosts = "127.0.1.1 box.example.net box\n127.0.2.1 short\n"
	for _, c := range []struct{ name, canonical, want string }{
		{"mx.example.org", "dns.example.com.", "mx.example.org"},
		{"box", "dns.example.com.", "box.example.net"},
		{"other", "dns.example.com.", "dns.example.com"},
		{"other", "nodot.", "other"},
		{"other", "", "other"},
		{"short", "", "short"},
	} {
		if got, _, _ := strings.Cut(runHelper(t, c.name, hosts, c.canonical, "max"), " "); got != c.want {
			t.Errorf("host name %s, name in DNS %q: got %s, want %s", c.name, c.canonical, got, c.want)
		}
	}
}

// TestMachineMemory: the memory is the limit of the cgroup (version 2) or the
// memory of the machine, whichever is less.
func TestMachineMemory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a cgroup")
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	total := uint64(info.Totalram) * uint64(info.Unit)
	for limit, want := range map[uint64]uint64{1: 1, total - 1: total - 1, total + 1: total, math.MaxInt64: total} {
		if _, got, _ := strings.Cut(runHelper(t, "mx.example.org", "", "", fmt.Sprint(limit)), " "); got != fmt.Sprint(want) {
			t.Errorf("limit %d: got %s, want %d", limit, got, want)
		}
	}
}
