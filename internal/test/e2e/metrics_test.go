package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
)

// TestMetrics reads the metrics, /healthz and auth_http of a daemon whose store is
// available, then unavailable, then available again.
func TestMetrics(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	d := newDaemon(t, map[string]string{"GM_METRICS": addr, "GM_ALLOWED_HOSTS": "example.com", "NGINX_AUTH_ENABLED": "Y",
		"NGINX_AUTH": fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))})
	d.Start(t)
	get := func(path string) (int, string) {
		t.Helper()
		r, body, err := test.Get(addr, path)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, body
	}
	send := func(to string) client.Reply {
		t.Helper()
		c, err := client.Connect(d.Addr, 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Hello(); err != nil {
			t.Fatal(err)
		}
		r, err := c.Send("a@example.org", "", []string{to}, []byte("Subject: x\r\n\r\ntext\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := send("b@example.com"); r.Code != 250 {
		t.Fatalf("reply %v, want 250", r)
	}
	send("b@elsewhere.example")
	_, text := get("/metrics")
	for _, want := range []string{`goguerrillad_mails_total{outcome="stored"} 1`, "goguerrillad_rows_total 1", "goguerrillad_mail_bytes_total 20",
		`goguerrillad_replies_total{code="354"} 1`, `goguerrillad_replies_total{code="550"} 1`, "goguerrillad_commit_rows_count 1", "goguerrillad_mail_duration_seconds_count 1"} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics do not contain %s", want)
		}
	}
	if status, text := get("/healthz"); status != 200 {
		t.Errorf("/healthz: %d %s, want 200", status, text)
	}
	if status, text := get("/"); status != 200 || !strings.Contains(text, "Accepting messages") {
		t.Errorf("/: %d %s", status, text)
	}

	// The store creates the directory of the file, but not its parent.
	file := d.Keys["SQLITE_FILE"]
	if !d.Reload(t, map[string]string{"SQLITE_FILE": d.Dir + "/no/such/mail.db"}) {
		t.Fatalf("reload refused:\n%s", d.Log())
	}
	if r := send("b@example.com"); r.Code != 451 {
		t.Errorf("store unavailable: reply %v, want 451", r)
	}
	if status, text := get("/healthz"); status != 503 || !strings.Contains(text, "store unavailable") {
		t.Errorf("store unavailable: /healthz: %d %s, want 503", status, text)
	}
	authHTTP := func() http.Header {
		t.Helper()
		return requestAuth(t, d.Keys["NGINX_AUTH"])
	}
	if h := authHTTP(); h.Get("Auth-Error-Code") != "451 4.3.0" || h.Get("Auth-Wait") == "" {
		t.Errorf("store unavailable: auth_http replied %v", h)
	}
	if !d.Reload(t, map[string]string{"SQLITE_FILE": file}) {
		t.Fatalf("reload refused:\n%s", d.Log())
	}
	test.Await(t, nil, 20*time.Second, "waiting for /healthz", func() error {
		if status, text := get("/healthz"); status != 200 {
			return fmt.Errorf("status %d, %s", status, text)
		}
		return nil
	})
	if h := authHTTP(); h.Get("Auth-Status") != "OK" {
		t.Errorf("store available again: auth_http replied %v", h)
	}

	// At the client limit auth_http refuses the clients of nginx.
	if !d.Reload(t, map[string]string{"GM_MAX_CLIENTS": "1"}) {
		t.Fatalf("reload refused:\n%s", d.Log())
	}
	c, err := client.Connect(d.Addr, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if h := authHTTP(); h.Get("Auth-Error-Code") != "451 4.3.2" {
		t.Errorf("client limit reached: auth_http replied %v", h)
	}
	if status, _ := get("/healthz"); status != 503 {
		t.Errorf("client limit reached: /healthz: %d, want 503", status)
	}
	c.Close()
	if !d.Reload(t, map[string]string{"GM_METRICS": ""}) {
		t.Fatalf("reload refused:\n%s", d.Log())
	}
	test.Await(t, nil, 20*time.Second, "waiting for the end of the metrics", func() error {
		if test.Dial(addr)() == nil {
			return fmt.Errorf("%s still accepts connections", addr)
		}
		return nil
	})
}
