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

// listeners are the keys of the addresses on which a daemon listens.
var listeners = []string{"GSTMP_LISTEN_INTERFACE", "NGINX_AUTH", "GM_METRICS"}

// freeAddresses returns free addresses for listeners.
func freeAddresses(t *testing.T) map[string]string {
	t.Helper()
	keys := map[string]string{}
	for _, key := range listeners {
		keys[key] = fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	}
	return keys
}

// startAt starts a daemon at addresses of freeAddresses, with more keys.
func startAt(t *testing.T, addrs, keys map[string]string) *testdaemon.Daemon {
	t.Helper()
	d := shared.Daemon(t, addrs)
	d.Configure(t, keys)
	d.Addr = addrs["GSTMP_LISTEN_INTERFACE"]
	d.Start(t)
	return d
}

// TestFewDescriptorsAtStart: a daemon that lacks a descriptor in any step of its start
// reports that on standard error and ends with a status.
func TestFewDescriptorsAtStart(t *testing.T) {
	d := shared.Daemon(t, freeAddresses(t))
	d.Configure(t, map[string]string{"GM_SAVE_MAIL": "discard", "NGINX_AUTH_ENABLED": "Y", "GSMTP_LOG_FILE": filepath.Join(d.Dir, "log")})
	var reports strings.Builder
	for limit := 8; ; limit++ { // fewer do not suffice for Go
		if limit == 64 {
			t.Fatalf("64 descriptors do not suffice:\n%s", reports.String())
		}
		d.Under = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, limit), "sh"}
		d.Launch(t)
		test.Await(t, nil, 20*time.Second, "neither ready nor ended", func() error {
			select {
			case <-d.Process().Done():
				return nil
			default:
			}
			if !strings.Contains(d.Log(), "msg=ready") {
				return errors.New("runs")
			}
			return nil
		})
		if strings.Contains(d.Log(), "msg=ready") {
			break
		}
		output := d.Process().Output()
		reports.WriteString(output)
		if status := d.AwaitExit(); status != 1 && status != 78 || !strings.HasPrefix(output, "goguerrillad: ") {
			t.Errorf("%d descriptors: status %d, %s", limit, status, output)
		}
	}
	if status := d.Terminate(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
	for _, want := range []string{"NGINX_AUTH: listen on .*: socket: ", "GM_METRICS: listen on .*: socket: ", "conf: GSMTP_LOG_FILE: open log file: ",
		"goguerrillad: smtpd: ", "GM_METRICS: (duplicate .*|listen on .*: fcntl): "} {
		if !regexp.MustCompile(want).MatchString(reports.String()) {
			t.Errorf("%q is not reported:\n%s", want, reports.String())
		}
	}
}

// TestFewDescriptorsAtReload: after a reload that lacks a descriptor in any step, the
// old or the new configuration works, and the next reload applies all of the new one.
func TestFewDescriptorsAtReload(t *testing.T) {
	old, next := freeAddresses(t), freeAddresses(t)
	d := shared.Daemon(t, old)
	d.Configure(t, map[string]string{"GM_SAVE_MAIL": "discard", "NGINX_AUTH_ENABLED": "Y", "GSMTP_LOG_FILE": filepath.Join(d.Dir, "log")})
	d.Under = []string{"sh", "-c", `ulimit -n 256; exec "$@"`, "sh"}
	d.Launch(t)
	d.AwaitLog(t, "msg=ready", 1)
	all := d.Descriptors()
	for room := range 8 {
		test.Await(t, d.Process(), 20*time.Second, "descriptors are left open", func() error {
			if n := d.Descriptors(); n != all {
				return fmt.Errorf("%d, at the start %d", n, all)
			}
			return nil
		})
		limitDescriptors(t, d, room)
		next["GSMTP_LOG_FILE"] = filepath.Join(d.Dir, fmt.Sprint("log", room))
		taken := d.Reload(t, next)
		setLimit(t, d, 256)
		if !taken {
			served(t, d, old)
			unserved(t, next)
		}
		if !d.Reload(t, nil) {
			t.Fatalf("room for %d descriptors: the next reload is refused:\n%s", room, d.Log())
		}
		served(t, d, next)
		unserved(t, old)
		if text := read(t, next["GSMTP_LOG_FILE"]); !strings.Contains(text, "msg=reloaded") {
			t.Errorf("the new log has\n%s", text)
		}
		old, next = next, old
	}
	for _, want := range []string{"goguerrilla.conf: cannot be opened: ", `level=ERROR msg="cannot reopen the log, keeping the old file" error=`, `level=ERROR msg="cannot serve HTTP on the new address, keeping the old one" error=`} {
		if !strings.Contains(d.Log(), want) {
			t.Errorf("%q is not in the log:\n%s", want, d.Log())
		}
	}
}

// limitDescriptors limits a daemon to room more descriptors than it has open.
func limitDescriptors(t *testing.T, d *testdaemon.Daemon, room int) {
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
	setLimit(t, d, limit)
}

// setLimit changes how many descriptors a daemon may have open, as its user.
func setLimit(t *testing.T, d *testdaemon.Daemon, limit int) {
	t.Helper()
	cmd := exec.Command("prlimit", "--pid", strconv.Itoa(d.Pid()), fmt.Sprintf("--nofile=%d:", limit))
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// served checks that a daemon works at these addresses.
func served(t *testing.T, d *testdaemon.Daemon, keys map[string]string) {
	t.Helper()
	d.Addr = keys["GSTMP_LISTEN_INTERFACE"]
	test.Await(t, d.Process(), 20*time.Second, "no greeting at "+d.Addr, d.Greets)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	for _, key := range listeners[1:] {
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

// unserved checks that the addresses are free.
func unserved(t *testing.T, keys map[string]string) {
	t.Helper()
	for _, key := range listeners {
		l, err := net.Listen("tcp", keys[key])
		if err != nil {
			t.Errorf("%s is not released: %v", key, err)
			continue
		}
		l.Close()
	}
}
