package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/test"
	testdaemon "goguerrillad/internal/test/daemon"
)

// addressKeys are the keys of the addresses on which a daemon listens.
var addressKeys = []string{"GSTMP_LISTEN_INTERFACE", "NGINX_AUTH", "GM_METRICS"}

// freeAddresses returns a free address for each of addressKeys.
func freeAddresses(t *testing.T) map[string]string {
	t.Helper()
	keys := map[string]string{}
	for _, key := range addressKeys {
		keys[key] = fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	}
	return keys
}

// startDaemon starts a daemon with addresses from freeAddresses and additional keys.
func startDaemon(t *testing.T, addrs, keys map[string]string) *testdaemon.Daemon {
	t.Helper()
	d := shared.Daemon(t, addrs)
	d.Configure(t, keys)
	d.Addr = addrs["GSTMP_LISTEN_INTERFACE"]
	d.Start(t)
	return d
}

// TestStartFewDescriptors: if a daemon has too few descriptors for any step of its
// start, it reports the error on standard error and exits with status 1 or 78.
func TestStartFewDescriptors(t *testing.T) {
	d := shared.Daemon(t, freeAddresses(t))
	d.Configure(t, map[string]string{"GM_SAVE_MAIL": "discard", "NGINX_AUTH_ENABLED": "Y", "GSMTP_LOG_FILE": filepath.Join(d.Dir, "log")})
	var failures strings.Builder // output of all failed starts
	for limit := 8; ; limit++ {  // Go's runtime needs 8
		if limit == 64 {
			t.Fatalf("64 descriptors are too few:\n%s", failures.String())
		}
		d.Wrapper = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, limit), "sh"}
		d.Launch(t)
		test.Await(t, nil, 20*time.Second, "waiting for the start to succeed or fail", func() error {
			select {
			case <-d.Process().Done():
				return nil
			default:
			}
			if !strings.Contains(d.Log(), "msg=ready") {
				return errors.New("the process runs")
			}
			return nil
		})
		if strings.Contains(d.Log(), "msg=ready") {
			break
		}
		output := d.Process().Output()
		failures.WriteString(output)
		if status := d.AwaitExit(); status != 1 && status != 78 || !strings.HasPrefix(output, "goguerrillad: ") {
			t.Errorf("%d descriptors: exit status %d, %s", limit, status, output)
		}
	}
	if status := d.Terminate(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	for _, want := range []string{"NGINX_AUTH: listen on .*: socket: ", "GM_METRICS: listen on .*: socket: ", "conf: GSMTP_LOG_FILE: open log file: ",
		"goguerrillad: start event loop: ", "GM_METRICS: (duplicate .*|listen on .*: fcntl): "} {
		if !regexp.MustCompile(want).MatchString(failures.String()) {
			t.Errorf("no start reports %q:\n%s", want, failures.String())
		}
	}
}

// TestReloadFewDescriptors: if a daemon has too few descriptors for any step of a
// reload, it serves with the old or the new configuration, and the next reload applies
// the new configuration completely.
func TestReloadFewDescriptors(t *testing.T) {
	old, next := freeAddresses(t), freeAddresses(t)
	d := shared.Daemon(t, old)
	d.Configure(t, map[string]string{"GM_SAVE_MAIL": "discard", "NGINX_AUTH_ENABLED": "Y", "GSMTP_LOG_FILE": filepath.Join(d.Dir, "log")})
	d.Wrapper = []string{"sh", "-c", `ulimit -n 256; exec "$@"`, "sh"}
	d.Launch(t)
	d.AwaitLog(t, "msg=ready", 1)
	atStart := d.Descriptors()
	for room := range 8 {
		test.Await(t, d.Process(), 20*time.Second, "waiting for the descriptors of the reload to close", func() error {
			if n := d.Descriptors(); n != atStart {
				return fmt.Errorf("%d open, want %d as after the start", n, atStart)
			}
			return nil
		})
		leaveDescriptors(t, d, room)
		next["GSMTP_LOG_FILE"] = filepath.Join(d.Dir, fmt.Sprint("log", room))
		applied := d.Reload(t, next)
		setDescriptorLimit(t, d, 256)
		if !applied {
			checkServing(t, d, old)
			checkReleased(t, next)
		}
		if !d.Reload(t, nil) {
			t.Fatalf("after a reload with %d free descriptors the next reload fails:\n%s", room, d.Log())
		}
		checkServing(t, d, next)
		checkReleased(t, old)
		if text := read(t, next["GSMTP_LOG_FILE"]); !strings.Contains(text, "msg=reloaded") {
			t.Errorf("the new log file lacks the reload:\n%s", text)
		}
		old, next = next, old
	}
	for _, want := range []string{"goguerrilla.conf: cannot be opened: ", `level=ERROR msg="cannot reopen the log, keeping the old file" error=`, `level=ERROR msg="cannot serve HTTP on the new address, keeping the old one" error=`} {
		if !strings.Contains(d.Log(), want) {
			t.Errorf("the log lacks %q:\n%s", want, d.Log())
		}
	}
}

// leaveDescriptors lowers RLIMIT_NOFILE of a daemon so that it can open room more
// descriptors.
func leaveDescriptors(t *testing.T, d *testdaemon.Daemon, room int) {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, f := range files {
		open = append(open, f.Name())
	}
	limit := 0
	for ; room > 0 || slices.Contains(open, strconv.Itoa(limit)); limit++ {
		if !slices.Contains(open, strconv.Itoa(limit)) {
			room--
		}
	}
	setDescriptorLimit(t, d, limit)
}

// setDescriptorLimit changes RLIMIT_NOFILE of a daemon, as the daemon's user.
func setDescriptorLimit(t *testing.T, d *testdaemon.Daemon, limit int) {
	t.Helper()
	cmd := exec.Command("prlimit", "--pid", strconv.Itoa(d.Pid()), fmt.Sprintf("--nofile=%d:", limit))
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// checkServing checks that a daemon serves the given addresses.
func checkServing(t *testing.T, d *testdaemon.Daemon, keys map[string]string) {
	t.Helper()
	d.Addr = keys["GSTMP_LISTEN_INTERFACE"]
	test.Await(t, d.Process(), 20*time.Second, "waiting for the greeting on "+d.Addr, d.CheckGreeting)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	for _, key := range addressKeys[1:] {
		r, err := client.Get("http://" + keys[key])
		if err != nil {
			t.Fatalf("%s: %v\n%s", key, err, d.Log())
		}
		r.Body.Close()
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", key, r.Status)
		}
	}
}

// checkReleased checks that no process listens on the given addresses.
func checkReleased(t *testing.T, keys map[string]string) {
	t.Helper()
	for _, key := range addressKeys {
		l, err := net.Listen("tcp", keys[key])
		if err != nil {
			t.Errorf("%s is still in use: %v", key, err)
			continue
		}
		l.Close()
	}
}
