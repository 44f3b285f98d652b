package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"goguerrillad/internal/test"
)

// TestAuthHTTPListens: auth_http answers on a unix socket from systemd, and on an
// address that the network reaches, of which the log warns.
func TestAuthHTTPListens(t *testing.T) {
	for _, tt := range []struct {
		name     string
		network  string
		warnings int
	}{
		{"unix", "unix", 0},
		{"open", "tcp", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDaemon(t, map[string]string{"NGINX_AUTH_ENABLED": "Y"})
			address := filepath.Join(t.TempDir(), "auth.sock")
			if tt.network == "unix" {
				d.Sockets, d.Names = []*os.File{test.TCPSocket(t, d.Addr), unixSocket(t, address)}, "smtp:auth_http"
			} else {
				port := test.FreePort(t)
				d.Configure(t, map[string]string{"NGINX_AUTH": fmt.Sprintf("0.0.0.0:%d", port)})
				address = fmt.Sprintf("127.0.0.1:%d", port)
			}
			d.Start(t)
			client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var dialer net.Dialer
				return dialer.DialContext(ctx, tt.network, address)
			}}}
			defer client.CloseIdleConnections()
			q, err := http.NewRequest("GET", "http://localhost/", nil)
			if err != nil {
				t.Fatal(err)
			}
			q.Header.Set("Auth-Method", "none")
			r, err := client.Do(q)
			if err != nil {
				t.Fatalf("%v\n%s", err, d.Log())
			}
			r.Body.Close()
			if got := net.JoinHostPort(r.Header.Get("Auth-Server"), r.Header.Get("Auth-Port")); r.Header.Get("Auth-Status") != "OK" || got != d.Addr {
				t.Errorf("answer %v, want server %s", r.Header, d.Addr)
			}
			if code := d.Terminate(t); code != 0 {
				t.Errorf("exit status %d", code)
			}
			if n := strings.Count(d.Log(), "auth_http is open to the network"); n != tt.warnings {
				t.Errorf("%d warnings that auth_http is open:\n%s", n, d.Log())
			}
		})
	}
}
