package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/testserver"
)

// TestNginx has nginx in front, which says by XCLIENT whom it speaks for: the
// row, the header and the log have the client's address, and what the client
// itself says of that is not believed.
func TestNginx(t *testing.T) {
	d := newDaemon(t, map[string]string{"GSMTP_TRUSTED_PROXIES": "127.0.0.1"})
	d.Start(t)
	table := sqliteTable(t, d)
	host, port, _ := net.SplitHostPort(d.Addr)
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Auth-Status", "OK")
		w.Header().Set("Auth-Server", host)
		w.Header().Set("Auth-Port", port)
	}))
	t.Cleanup(auth.Close)
	front := testserver.FreePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", front)
	nginx := testserver.Nginx(t, fmt.Sprintf(`mail {
	server_name mail.test;
	auth_http %s/;
	proxy_pass_error_message on;
	smtp_auth none;
	xclient on;
	smtp_capabilities "SIZE 20000000" PIPELINING 8BITMIME SMTPUTF8 ENHANCEDSTATUSCODES;
	server { listen 127.0.0.1:%d; listen [::1]:%d; protocol smtp; }
}
`, strings.TrimPrefix(auth.URL, "http://"), front, front), addr)

	// from sends a mail as a client of this address, and leaves the session open.
	from := func(local, to, addr string) *testserver.Client {
		t.Helper()
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}, Timeout: 20 * time.Second}
		conn, err := dialer.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		c, err := testserver.NewClient(conn, 20*time.Second)
		if err != nil {
			t.Fatalf("%v\n%s", err, nginx.Output())
		}
		if err := c.Hello(); err != nil {
			t.Fatal(err)
		}
		if r, err := c.Send("sender@example.org", "", []string{to}, []byte("Subject: x\r\n\r\ntext\r\n")); err != nil || r.Code != 250 {
			t.Fatalf("%v, %v\n%s\n%s", r, err, d.Log(), nginx.Output())
		}
		return c
	}
	for _, tt := range []struct{ local, addr, literal string }{
		{"127.0.0.2", addr, "([127.0.0.2])"},
		{"::1", fmt.Sprintf("[::1]:%d", front), "([IPv6:::1])"},
	} {
		to := "b" + strings.ReplaceAll(tt.local, ":", "-") + "@example.com"
		c := from(tt.local, to, tt.addr)
		rows, err := table.to(to)
		if err != nil || len(rows) != 1 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		if rows[0].ip != tt.local || !strings.Contains(string(rows[0].mail), "Received: from client.test "+tt.literal) {
			t.Errorf("row with address %q: %s", rows[0].ip, rows[0].mail)
		}
		// From the first recipient on nginx passes on whatever comes.
		for _, forged := range []string{"XCLIENT ADDR=127.0.0.1", "XCLIENT ADDR=198.51.100.1 LOGIN=root"} {
			if r, err := c.Cmd("%s", forged); err != nil || r.Code != 550 {
				t.Errorf("%s: %v, %v", forged, r, err)
			}
		}
		if r, err := c.Send("sender@example.org", "", []string{"again" + to}, []byte("x\r\n")); err != nil || r.Code != 250 {
			t.Errorf("%v, %v", r, err)
		}
		if rows, err := table.to("again" + to); err != nil || len(rows) != 1 || rows[0].ip != tt.local {
			t.Errorf("behind a forged XCLIENT: %+v, %v", rows, err)
		}
	}
	if log := d.Log(); strings.Count(log, "XCLIENT refused") != 2 || !strings.Contains(log, "remote=127.0.0.2:0 proxy=127.0.0.1:") {
		t.Errorf("the log says\n%s", log)
	}

	// Who is not on the list is not believed either.
	outside := from("127.0.0.3", "c@example.com", d.Addr)
	if r, err := outside.Cmd("XCLIENT ADDR=198.51.100.1"); err != nil || r.Code != 550 {
		t.Errorf("from outside: %v, %v", r, err)
	}
	if rows, err := table.to("c@example.com"); err != nil || len(rows) != 1 || rows[0].ip != "127.0.0.3" {
		t.Errorf("from outside: %+v, %v", rows, err)
	}
}
