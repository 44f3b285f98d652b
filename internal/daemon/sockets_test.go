package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"goguerrillad/internal/test"
)

// TestPassedSockets: the sockets of systemd win over the addresses of the file, at the
// start and at a reload.
func TestPassedSockets(t *testing.T) {
	passed, other := freeAddresses(t), freeAddresses(t)
	d := shared.Daemon(t, other)
	for _, key := range listeners {
		d.Sockets = append(d.Sockets, test.TCPSocket(t, passed[key]))
	}
	d.Names = "smtp:auth_http:metrics"
	d.Launch(t)
	d.AwaitLog(t, "msg=ready", 1)
	if line := fmt.Sprintf(" listen=%s auth_http=%s metrics=%s store=sqlite host=mx.test\n", passed[listeners[0]], passed[listeners[1]], passed[listeners[2]]); !strings.Contains(d.Log(), line) {
		t.Errorf("the log lacks%s%s", line, d.Log())
	}
	for _, change := range []map[string]string{nil, freeAddresses(t), {"GM_METRICS": "", "NGINX_AUTH_ENABLED": "Y"}, {"NGINX_AUTH_ENABLED": "N"}} {
		if !d.Reload(t, change) {
			t.Fatal(d.Log())
		}
		served(t, d, passed)
		unserved(t, other)
	}
	if strings.Contains(d.Log(), "level=WARN") || strings.Contains(d.Log(), "level=ERROR") {
		t.Errorf("the log has\n%s", d.Log())
	}
}

// TestRights: a daemon of root becomes the user of the file, and one that was given
// the right to bind low ports gives it up. No thread keeps a right.
func TestRights(t *testing.T) {
	test.NeedRoot(t)
	test.Need(t, "setpriv")
	for _, tt := range []struct {
		user  string
		under []string
	}{
		{"nobody", nil},
		{"", []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service"}},
	} {
		d := shared.Daemon(t, map[string]string{"GUID": tt.user, "SGID": ""})
		d.Under = tt.under
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
