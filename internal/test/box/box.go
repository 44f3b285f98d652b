// Package box boots Debian systems in containers for tests.
package box

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
)

// A Box is a Debian system in a container, booted by systemd. It has its own files,
// processes, users, loopback network and journal.
type Box struct {
	Root string // root directory of the box, as a path on the host

	machine *test.Process
	init    int // process id of its systemd on the host
}

// packages are the packages of a box in addition to the essential ones.
const packages = "systemd,systemd-sysv,dbus,iproute2,procps,man-db"

// bootTime bounds the boot of a box, which normally takes several seconds.
const bootTime = 2 * time.Minute

// Start boots the named release of Debian with additional packages. It downloads the files
// once, into build/boxes.
func Start(t test.T, release string, more ...string) *Box {
	t.Helper()
	test.NeedRoot(t)
	test.Need(t, "mmdebstrap", "systemd-nspawn", "nsenter")
	b := &Box{Root: filepath.Join(test.PublicDir(t), "root")}
	copied := exec.Command("cp", "-a", "--reflink=auto", files(t, release, more), b.Root)
	if out, err := copied.CombinedOutput(); err != nil {
		t.Fatalf("copy the files of a box: %v\n%s", err, out)
	}
	b.machine = test.Start(t, exec.Command("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network",
		"--resolv-conf=off", "--timezone=off", "--console=pipe", "--boot", "--directory="+b.Root))
	test.Await(t, b.machine, bootTime, "wait for systemd in the box", func() (err error) {
		b.init, err = initOf(b.machine.Cmd.Process.Pid)
		return err
	})
	test.Await(t, b.machine, bootTime, "wait for the box to boot", func() error {
		out, _ := b.Command("systemctl is-system-running").Output()
		switch state := strings.TrimSpace(string(out)); state {
		case "running", "degraded": // units that cannot run in a container do not matter
			return nil
		default:
			return fmt.Errorf("the state of systemd is %q", state)
		}
	})
	return b
}

// files returns the directory with the files of a release and the packages.
func files(t test.T, release string, more []string) string {
	t.Helper()
	root, err := test.ModuleRoot()
	if err != nil {
		t.Fatalf("%v", err)
	}
	dir := filepath.Join(root, "build", "boxes", strings.Join(append([]string{release}, more...), "+"))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatalf("%v", err)
	}
	fresh := dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		t.Fatalf("%v", err)
	}
	cmd := exec.Command("mmdebstrap", "--variant=minbase", "--include="+strings.Join(append([]string{packages}, more...), ","), release, fresh)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	if err := os.Rename(fresh, dir); err != nil {
		t.Fatalf("%v", err)
	}
	return dir
}

// initOf returns the process id of the systemd that systemd-nspawn has started.
func initOf(nspawn int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", nspawn, nspawn))
	if err != nil {
		return 0, err
	}
	for child := range strings.FieldsSeq(string(text)) {
		exe, err := os.Readlink("/proc/" + child + "/exe")
		if err == nil && strings.HasSuffix(exe, "/systemd") {
			return strconv.Atoi(child)
		}
	}
	return 0, errors.New("systemd has not started")
}

// Command returns a shell command that runs in the box as root.
func (b *Box) Command(script string) *exec.Cmd {
	cmd := exec.Command("nsenter", "--target", fmt.Sprint(b.init), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
		"--", "/bin/sh", "-c", script)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "TERM=dumb", "SYSTEMD_PAGER=", "HOME=/root"}
	return cmd
}

// Run runs a shell command in the box, requires success, and returns its output.
func (b *Box) Run(t test.T, script string) string {
	t.Helper()
	out, err := b.Try(script)
	if err != nil {
		t.Fatalf("run %q in the box: %v\n%s", script, err, out)
	}
	return out
}

// Try runs a shell command in the box, and returns its output on stdout and stderr.
func (b *Box) Try(script string) (string, error) {
	var out bytes.Buffer
	cmd := b.Command(script)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

// Write writes a file in the box.
func (b *Box) Write(t test.T, path, text string) {
	t.Helper()
	path = filepath.Join(b.Root, path)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		t.Fatalf("write a file in the box: %v", err)
	}
}

// Configure changes keys of a configuration file in the box. It keeps the owner and the mode
// of the file.
func (b *Box) Configure(t test.T, path string, changes map[string]string) {
	t.Helper()
	path = filepath.Join(b.Root, path)
	text, err := os.ReadFile(path)
	keys := map[string]string{}
	if err == nil {
		err = json.Unmarshal(text, &keys)
	}
	maps.Copy(keys, changes)
	if err == nil {
		text, err = json.MarshalIndent(keys, "", "    ")
	}
	if err == nil {
		err = os.WriteFile(path, text, 0o640)
	}
	if err != nil {
		t.Fatalf("change a configuration in the box: %v", err)
	}
}

// Pid returns the process id on the host of a child of the box's systemd. name is at most 15
// bytes long, as in /proc/PID/comm.
func (b *Box) Pid(t test.T, name string) int {
	t.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", b.init))
	if err != nil {
		t.Fatalf("find %s in the box: %v", name, err)
	}
	for child := range strings.FieldsSeq(string(children)) {
		comm, err := os.ReadFile("/proc/" + child + "/comm")
		if err == nil && strings.TrimSpace(string(comm)) == name {
			if pid, err := strconv.Atoi(child); err == nil {
				return pid
			}
		}
	}
	t.Fatalf("find %s in the box: no child of systemd has this name", name)
	return 0
}

// Network returns a command that executes its arguments, a command of the host, in the network
// of the box.
func (b *Box) Network() []string {
	return []string{"nsenter", fmt.Sprintf("--target=%d", b.init), "--net", "--"}
}

// Dial connects to an address of TCP or a unix socket in the box.
func (b *Box) Dial(network, addr string, timeout time.Duration) (net.Conn, error) {
	if network == "unix" {
		return net.DialTimeout(network, fmt.Sprintf("/proc/%d/root%s", b.init, addr), timeout)
	}
	// setns(2) changes the namespace of one thread, so this thread must create the socket.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	hostNetwork, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer hostNetwork.Close()
	boxNetwork, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", b.init))
	if err != nil {
		return nil, err
	}
	defer boxNetwork.Close()
	if err := unix.Setns(int(boxNetwork.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter the network of the box: %w", err)
	}
	conn, err := net.DialTimeout(network, addr, timeout)
	if err := unix.Setns(int(hostNetwork.Fd()), unix.CLONE_NEWNET); err != nil {
		panic("leave the network of the box: " + err.Error())
	}
	return conn, err
}

// Connect is client.Connect to an SMTP server in the box.
func (b *Box) Connect(addr string, timeout time.Duration) (*client.Client, error) {
	conn, err := b.Dial("tcp", addr, timeout)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return client.New(conn, timeout)
}
