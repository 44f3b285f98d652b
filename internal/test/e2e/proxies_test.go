package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/daemon"
)

// A proxied daemon runs behind a proxy. It has the configuration of a page of docs with
// the ports of the test.
type proxied struct {
	*daemon.Daemon
	auth string // NGINX_AUTH
	*table
}

// newProxied returns a daemon with the configuration in a block of a page. It is not
// started.
func newProxied(t *testing.T, page test.Page, title string) *proxied {
	t.Helper()
	keys := map[string]string{}
	if err := json.Unmarshal([]byte(page.Block(t, "json "+title)), &keys); err != nil {
		t.Fatal(err)
	}
	d := newDaemon(t, nil)
	auth := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	if keys["GSTMP_LISTEN_INTERFACE"] != "" {
		keys["GSTMP_LISTEN_INTERFACE"] = d.Addr
	}
	if keys["NGINX_AUTH_ENABLED"] == "Y" {
		keys["NGINX_AUTH"] = auth
	}
	d.Configure(t, keys)
	return &proxied{d, auth, nil}
}

// start starts the daemon and opens its table.
func (b *proxied) start(t *testing.T) {
	t.Helper()
	b.StartAwaitReady(t)
	b.table = sqliteTable(t, b.Daemon)
}

// proxyAddresses returns an IPv4 and an IPv6 address for a proxy, with the same port.
func proxyAddresses(t *testing.T) (v4, v6 string) {
	port := test.FreePort(t)
	return fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("[::1]:%d", port)
}

// dialFrom connects from a local address.
func dialFrom(t *testing.T, local, addr string) *client.Client {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}, Timeout: 20 * time.Second}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c, err := client.New(conn, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// dialStartTLS connects from a local address and starts TLS. It does not send EHLO
// inside TLS.
func dialStartTLS(t *testing.T, local, addr string, cert *test.Certificate) *client.Client {
	t.Helper()
	c := dialFrom(t, local, addr)
	err := c.Hello()
	if err == nil {
		err = c.StartTLS(cert.ClientConfig())
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// deliver sends EHLO and a message to a new recipient, and returns the row.
func (b *proxied) deliver(t *testing.T, c *client.Client, to string) row {
	t.Helper()
	if err := c.Hello(); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Send("sender@example.org", "", []string{to}, []byte("Subject: x\r\n\r\ntext\r\n")); err != nil || r.Code != 250 {
		t.Fatalf("message to %s: reply %v, %v\n%s", to, r, err, b.Log())
	}
	return b.only(t, to)
}

// only returns the row of a recipient, who must have exactly one row.
func (b *proxied) only(t *testing.T, to string) row {
	t.Helper()
	rows, err := b.to(to)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows for %s, want 1: %v\n%s", len(rows), to, err, b.Log())
	}
	return rows[0]
}

// checkClient checks the client's address in a row, and the address and the protocol in
// its Received field.
func checkClient(t *testing.T, r row, ip, protocol string) {
	t.Helper()
	head, _, _ := strings.Cut(string(r.mail), "\r\n\r\n")
	head = strings.ReplaceAll(head, "\r\n\t", " ")
	literal := "[" + ip + "]"
	if strings.Contains(ip, ":") {
		literal = "[IPv6:" + ip + "]"
	}
	if r.ip != ip {
		t.Errorf("ip_addr %q, want %s", r.ip, ip)
	}
	if !strings.Contains(head, "Received: from client.test ("+literal+")") || !strings.Contains(head, " with "+protocol+" ") {
		t.Errorf("Received does not contain %s and %s:\n%s", literal, protocol, head)
	}
}

// TestPagesAreTested: a test runs each configuration and each program of the pages.
func TestPagesAreTested(t *testing.T) {
	tested := map[string][]string{
		"nginx.md": {"json starttls", "ini port", "ini auth", "nginx starttls", "nginx implicit", "json proxy", "nginx proxy", "nginx 2012"},
		"haproxy.md": {"json tcp", "haproxy tcp", "haproxy check", "haproxy tls", "ini unix", "json unix", "haproxy unix",
			"haproxy several"},
		"balancing.md": {"json chooses", "json takes", "nginx balancing"},
		"cluster.md":   {"json galera", "json postgres"},                                                           // json galera in package faults
		"webhook.md":   {"json webhook", "json refused", "python receiver", "javascript receiver", "php receiver"}, // json refused in package webhook
		"stream.md":    {"json stream", "python consumer", "go consumer"},
	}
	for name, titles := range tested {
		for title := range test.ReadPage(t, name) {
			if !slices.Contains(titles, title) {
				t.Errorf("%s: no test runs %q", name, title)
			}
		}
	}
}

// dialTLS connects with implicit TLS.
func dialTLS(t *testing.T, addr string, cert *test.Certificate) *client.Client {
	t.Helper()
	c, err := client.ConnectTLS(addr, cert.ClientConfig(), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// joinCertificate writes the certificate and the key into one file for HAProxy, and
// returns its path.
func joinCertificate(t *testing.T, dir string, cert *test.Certificate) string {
	t.Helper()
	var both []byte
	for _, name := range []string{cert.CertFile, cert.KeyFile} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, text...)
	}
	path := filepath.Join(dir, "joined.pem")
	if err := os.WriteFile(path, both, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// unixSocket listens on a path. Any user may connect.
func unixSocket(t *testing.T, path string) *os.File {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	defer l.Close()
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
