package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test/client"
)

// TestDescriptorReserve: a daemon with few descriptors accepts fewer clients than
// GM_MAX_CLIENTS and logs a warning. It still stores a message and reloads when idle
// clients use all descriptors for clients.
func TestDescriptorReserve(t *testing.T) {
	const limit = 64 // as in ulimit below
	for _, store := range []string{"sqlite", "maildir"} {
		t.Run(store, func(t *testing.T) {
			d := newDaemon(t, map[string]string{"GM_SAVE_MAIL": store})
			d.Configure(t, map[string]string{"GM_MAILDIR": filepath.Join(d.Dir, "Maildir")})
			d.Wrapper = []string{"sh", "-c", `ulimit -n 64; exec "$@"`, "sh"}
			d.Start(t)
			var clients []*client.Client
			for refused := false; !refused; {
				c, err := client.Connect(d.Addr, 10*time.Second)
				if err != nil {
					t.Fatalf("client %d receives no greeting: %v\n%s", len(clients), err, d.Log())
				}
				defer c.Close()
				switch c.Greeting.Code {
				case 220:
					clients = append(clients, c)
				case 421:
					refused = true
				default:
					t.Fatalf("client %d: greeting %v, want 220 or 421", len(clients), c.Greeting)
				}
				if len(clients) > limit {
					t.Fatalf("%d clients with %d descriptors", len(clients), limit)
				}
			}
			if len(clients) < 8 {
				t.Errorf("%d clients with %d descriptors, want at least 8", len(clients), limit)
			}
			t.Logf("%d clients, %d open descriptors", len(clients), d.Descriptors())
			last := clients[len(clients)-1]
			if err := last.Hello(); err != nil {
				t.Fatal(err)
			}
			send(t, last, "b@example.com")
			if !d.Reload(t, nil) {
				t.Errorf("reload refused:\n%s", d.Log())
			}
			send(t, last, "b@example.com")
			if log := d.Log(); !strings.Contains(log, "too few descriptors for GM_MAX_CLIENTS: RLIMIT_NOFILE is 64, ") ||
				strings.Contains(log, "cannot accept connections") {
				t.Errorf("want a warning of too few descriptors, and no failed accept:\n%s", log)
			}
			var stderr strings.Builder
			check := d.Cmd("-t")
			check.Stderr = &stderr
			if err := check.Run(); err != nil || !strings.Contains(stderr.String(), "warning: too few descriptors for GM_MAX_CLIENTS") {
				t.Errorf("-t with few descriptors: %v, %s", err, stderr.String())
			}
			check = exec.Command(d.Program, "-config", d.ConfigFile(), "-t")
			if out, err := check.CombinedOutput(); err != nil || strings.Contains(string(out), "RLIMIT_NOFILE") {
				t.Errorf("-t with enough descriptors: %v, %s", err, out)
			}
		})
	}
}
