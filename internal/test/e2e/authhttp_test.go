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
	"goguerrillad/internal/test/client"
)

// TestAuthHTTPListeners: auth_http replies on a unix socket from systemd, and on a TCP
// address that other machines can reach. The log has a warning about the TCP address.
func TestAuthHTTPListeners(t *testing.T) {
	for _, tt := range []struct {
		name     string
		network  string
		warnings int
	}{
		{"unix", "unix", 0},
		{"TCP", "tcp", 1},
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
				t.Fatalf("request to auth_http: %v\n%s", err, d.Log())
			}
			r.Body.Close()
			if got := net.JoinHostPort(r.Header.Get("Auth-Server"), r.Header.Get("Auth-Port")); r.Header.Get("Auth-Status") != "OK" || got != d.Addr {
				t.Errorf("Auth-Status %q, server %s, want OK and %s", r.Header.Get("Auth-Status"), got, d.Addr)
			}
			if code := d.Terminate(t); code != 0 {
				t.Errorf("exit status %d", code)
			}
			if n := strings.Count(d.Log(), "auth_http is open to the network"); n != tt.warnings {
				t.Errorf("%d warnings that auth_http is open, want %d:\n%s", n, tt.warnings, d.Log())
			}
		})
	}
}

// TestAuthHTTPReload: a reload starts and stops auth_http, and changes the trusted
// proxies and the allowed hosts.
func TestAuthHTTPReload(t *testing.T) {
	b, v4, _, _ := startBehindNginx(t, nil)
	try := func() client.Reply {
		t.Helper()
		c := dialFrom(t, "127.0.0.2", v4)
		if err := c.Hello(); err != nil {
			t.Fatal(err)
		}
		r, err := c.Send("a@example.org", "", []string{"reload@example.com"}, []byte("x\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, tt := range []struct {
		change map[string]string
		code   int
	}{
		{map[string]string{"GM_MAX_CLIENTS": "100"}, 250},
		{map[string]string{"NGINX_AUTH_ENABLED": "N"}, 451}, // nginx cannot connect to auth_http
		{map[string]string{"NGINX_AUTH_ENABLED": "Y"}, 250},
		{map[string]string{"GSMTP_TRUSTED_PROXIES": "192.0.2.1"}, 550}, // XCLIENT is refused
		{map[string]string{"GSMTP_TRUSTED_PROXIES": "127.0.0.1"}, 250},
		{map[string]string{"GM_ALLOWED_HOSTS": "elsewhere.example"}, 550},
	} {
		if !b.Reload(t, tt.change) {
			t.Fatalf("reload with %v refused:\n%s", tt.change, b.Log())
		}
		if r := try(); r.Code != tt.code {
			t.Errorf("after the reload with %v: reply %v, want %d", tt.change, r, tt.code)
		}
	}
	for _, want := range []string{"XCLIENT refused", "nginx is not a trusted proxy"} {
		if n := strings.Count(b.Log(), want); n != 1 {
			t.Errorf("%q is logged %d times, want 1", want, n)
		}
	}
}
