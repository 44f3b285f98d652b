package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"goguerrillad/internal/test"
)

// TestPassedSockets: sockets from systemd override the addresses of the configuration,
// at the start and at a reload.
func TestPassedSockets(t *testing.T) {
	passed, other := freeAddresses(t), freeAddresses(t)
	d := shared.Daemon(t, other)
	for _, key := range addressKeys {
		d.Sockets = append(d.Sockets, test.TCPSocket(t, passed[key]))
	}
	d.Names = "smtp:auth_http:metrics"
	d.Launch(t)
	d.AwaitLog(t, "msg=ready", 1)
	if line := fmt.Sprintf(" listen=%s auth_http=%s metrics=%s store=sqlite host=mx.test\n", passed[addressKeys[0]], passed[addressKeys[1]], passed[addressKeys[2]]); !strings.Contains(d.Log(), line) {
		t.Errorf("the log lacks%s%s", line, d.Log())
	}
	for _, change := range []map[string]string{nil, freeAddresses(t), {"GM_METRICS": "", "NGINX_AUTH_ENABLED": "Y"}, {"NGINX_AUTH_ENABLED": "N"}} {
		if !d.Reload(t, change) {
			t.Fatal(d.Log())
		}
		checkServing(t, d, passed)
		checkReleased(t, other)
	}
	for line := range strings.Lines(d.Log()) {
		warning := strings.Contains(line, "level=WARN") && !strings.Contains(line, " has no effect: ")
		if warning || strings.Contains(line, "level=ERROR") {
			t.Errorf("warning or error in the log: %s", line)
		}
	}
	for i, socket := range []string{"smtp", "auth_http", "metrics"} {
		d.AwaitLog(t, `msg="`+addressKeys[i]+" has no effect: systemd passes the socket "+socket, 1)
	}
}

// TestPrivileges: a daemon that starts as root switches to GUID, and a daemon that
// starts with CAP_NET_BIND_SERVICE drops it. No thread keeps a capability.
func TestPrivileges(t *testing.T) {
	test.NeedRoot(t)
	test.Need(t, "setpriv")
	for _, tt := range []struct {
		user    string
		wrapper []string
	}{
		{"nobody", nil},
		{"", []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service"}},
	} {
		d := shared.Daemon(t, map[string]string{"GUID": tt.user, "SGID": ""})
		d.Wrapper = tt.wrapper
		d.Start(t)
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", d.Pid()))
		if err != nil || len(threads) < 2 {
			t.Fatalf("threads: %v, %v", threads, err)
		}
		for _, thread := range threads {
			text, err := os.ReadFile(thread)
			if err != nil {
				continue // the thread has ended
			}
			for _, line := range []string{"Uid:\t65534\t65534\t65534\t65534\n", "Gid:\t65534\t65534\t65534\t65534\n", "NoNewPrivs:\t1\n",
				"CapInh:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "CapAmb:\t0000000000000000\n"} {
				if !strings.Contains(string(text), line) {
					t.Errorf("user %q: %s lacks %s%s", tt.user, thread, line, text)
				}
			}
		}
	}
}
