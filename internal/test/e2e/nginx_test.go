package e2e

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/servers"
)

// startBehindNginx starts nginx and a daemon with the first configuration of nginx.md and
// additional keys. It returns the addresses of nginx.
func startBehindNginx(t *testing.T, keys map[string]string) (b *proxied, v4, v6 string, cert *test.Certificate) {
	t.Helper()
	page := test.ReadPage(t, "nginx.md")
	b = newProxied(t, page, "starttls")
	b.Configure(t, keys)
	b.start(t)
	v4, v6 = proxyAddresses(t)
	cert = test.NewCertificate(t, b.Dir, "mail")
	servers.Nginx(t, page.Block(t, "nginx starttls", "0.0.0.0:25", v4, "[::]:25", v6, "127.0.0.1:8025", b.auth,
		"/etc/ssl/certs/mail.example.com.pem", cert.CertFile, "/etc/ssl/private/mail.example.com.key", cert.KeyFile), v4)
	return b, v4, v6, cert
}

// TestForgedXClient: the daemon refuses XCLIENT from a client behind nginx, in clear
// text or inside TLS, and from a client that connects directly.
func TestForgedXClient(t *testing.T) {
	b, v4, _, cert := startBehindNginx(t, map[string]string{"GSMTP_TRUSTED_PROXIES": "127.0.0.1"})
	secure := dialStartTLS(t, "127.0.0.3", v4, cert)
	for ip, c := range map[string]*client.Client{
		"127.0.0.2": dialFrom(t, "127.0.0.2", v4),
		"127.0.0.3": secure,
		"127.0.0.4": dialFrom(t, "127.0.0.4", b.Addr), // directly
	} {
		// After the first recipient nginx forwards all commands.
		checkClient(t, b.deliver(t, c, ip+"@example.com"), ip, "ESMTP")
		for _, forged := range []string{"ADDR=127.0.0.1", "ADDR=198.51.100.1 LOGIN=root", "NAME=" + strings.Repeat("x", 300), "ADDR=192.0.2.1\x1b[2J"} {
			if r, err := c.Cmd("XCLIENT %s", forged); err != nil || r.Code != 550 {
				t.Errorf("XCLIENT %s: %v, %v, want 550", forged, r, err)
			}
		}
		checkClient(t, b.deliver(t, c, "again"+ip+"@example.com"), ip, "ESMTP")
	}
	log := b.Log()
	if n := strings.Count(log, "XCLIENT refused"); n != 3 || !strings.Contains(log, "remote=127.0.0.2:0 proxy=127.0.0.1:") {
		t.Errorf("%d refusals logged, want 3, with the addresses of client and proxy:\n%s", n, log)
	}
}

// TestNginxStartTLS runs the first configuration of nginx.md.
func TestNginxStartTLS(t *testing.T) {
	b, v4, v6, cert := startBehindNginx(t, nil)

	checkClient(t, b.deliver(t, dialFrom(t, "127.0.0.2", v4), "v4@example.com"), "127.0.0.2", "ESMTP")
	checkClient(t, b.deliver(t, dialFrom(t, "::1", v6), "v6@example.com"), "::1", "ESMTP")
	secure := dialStartTLS(t, "127.0.0.3", v4, cert)
	checkClient(t, b.deliver(t, secure, "tls@example.com"), "127.0.0.3", "ESMTP")

	// nginx forwards the daemon's refusal, and the client may continue.
	c := dialFrom(t, "127.0.0.4", v4)
	if err := c.Hello(); err != nil {
		t.Fatal(err)
	}
	direct := dialFrom(t, "127.0.0.4", b.Addr)
	if err := direct.Hello(); err != nil {
		t.Fatal(err)
	}
	for _, lines := range [][2]string{
		{"MAIL FROM:<a@example.org>", "RCPT TO:<b@elsewhere.example>"},
		{"MAIL FROM:<a@example.org>", "RCPT TO:<b@@example.com>"},
		{"MAIL FROM:<a@example.org> SIZE=99999999", "RCPT TO:<b@example.com>"},
	} {
		var want, got client.Reply
		for _, line := range lines {
			if r, err := direct.Cmd("%s", line); err != nil {
				t.Fatal(err)
			} else if r.Code != 250 && want.Code == 0 {
				want = r
			}
			r, err := c.Cmd("%s", line)
			if err != nil {
				t.Fatal(err)
			}
			got = r
		}
		if got != want {
			t.Errorf("%q: through nginx %v, directly %v", lines, got, want)
		}
		for _, c := range []*client.Client{c, direct} {
			if _, err := c.Expect(250, "RSET"); err != nil {
				t.Fatal(err)
			}
		}
	}
	checkClient(t, b.deliver(t, c, "after@example.com"), "127.0.0.4", "ESMTP")

	// A whole dialogue in one write, with DATA and with BDAT.
	for to, text := range map[string]string{
		"piped@example.com":   "DATA\r\nSubject: x\r\n\r\n..text\r\n.\r\nQUIT\r\n",
		"chunked@example.com": "BDAT 16\r\nSubject: x\r\n\r\n.tBDAT 5 LAST\r\next\r\nQUIT\r\n",
	} {
		c := dialFrom(t, "127.0.0.5", v4)
		fmt.Fprintf(c.Conn, "EHLO client.test\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<%s>\r\n%s", to, text)
		for code := 0; code != 221; {
			r, err := c.Reply()
			if err != nil || r.Code >= 400 {
				t.Fatalf("message to %s: reply %v, %v", to, r, err)
			}
			code = r.Code
		}
		r := b.only(t, to)
		if checkClient(t, r, "127.0.0.5", "ESMTP"); !bytes.HasSuffix(r.mail, []byte("Subject: x\r\n\r\n.text\r\n")) {
			t.Errorf("%s: mail is %q", to, r.mail)
		}
	}
}

// TestNginxImplicitTLS runs nginx with implicit TLS (RFC 8314).
func TestNginxImplicitTLS(t *testing.T) {
	page := test.ReadPage(t, "nginx.md")
	b := newProxied(t, page, "starttls")
	b.start(t)
	v4, _ := proxyAddresses(t)
	cert := test.NewCertificate(t, b.Dir, "mail")
	servers.Nginx(t, page.Block(t, "nginx implicit", "0.0.0.0:465", v4, "127.0.0.1:8025", b.auth,
		"/etc/ssl/certs/mail.example.com.pem", cert.CertFile, "/etc/ssl/private/mail.example.com.key", cert.KeyFile), v4)
	checkClient(t, b.deliver(t, dialTLS(t, v4, cert), "tls@example.com"), "127.0.0.1", "ESMTP")
}

// TestNginxProxyHeader: nginx reports the client by a PROXY header instead of XCLIENT.
func TestNginxProxyHeader(t *testing.T) {
	page := test.ReadPage(t, "nginx.md")
	b := newProxied(t, page, "proxy")
	b.start(t)
	v4, _ := proxyAddresses(t)
	servers.Nginx(t, page.Block(t, "nginx proxy", "0.0.0.0:25", v4, "127.0.0.1:8025", b.auth), v4)
	r := b.deliver(t, dialFrom(t, "127.0.0.2", v4), "header@example.com")
	if r.ip != "127.0.0.2" || !bytes.Contains(r.mail, []byte("Received: from mail.example.com ([127.0.0.2])")) {
		t.Errorf("ip_addr %q, want 127.0.0.2; mail:\n%s", r.ip, r.mail)
	}
}

// TestNginxBehindProxy: nginx behind another proxy reports an IPv6 client although the
// connection uses IPv4.
func TestNginxBehindProxy(t *testing.T) {
	page := test.ReadPage(t, "nginx.md")
	b := newProxied(t, page, "proxy")
	b.start(t)
	v4, _ := proxyAddresses(t)
	servers.Nginx(t, page.Block(t, "nginx proxy", "listen 0.0.0.0:25", "listen "+v4+" proxy_protocol; set_real_ip_from 127.0.0.1",
		"127.0.0.1:8025", b.auth), v4)
	for _, tt := range []struct{ header, ip string }{
		{"PROXY TCP6 2001:db8::9 2001:db8::1 4711 25", "2001:db8::9"},
		{"PROXY TCP4 198.51.100.9 192.0.2.1 4711 25", "198.51.100.9"},
	} {
		conn, err := net.Dial("tcp", v4)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "%s\r\n", tt.header)
		c, err := client.New(conn, 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if r := b.deliver(t, c, strings.ReplaceAll(tt.ip, ":", "-")+"@example.com"); r.ip != tt.ip {
			t.Errorf("%s: ip_addr %q, want %s\n%s", tt.header, r.ip, tt.ip, b.Log())
		}
	}
}

// TestNginx2012 runs the configuration that users have had since 2012. TLS fails, and
// works with the changes that the page recommends.
func TestNginx2012(t *testing.T) {
	page := test.ReadPage(t, "nginx.md")
	b := newProxied(t, page, "starttls")
	b.start(t)
	v4, _ := proxyAddresses(t)
	cert := test.NewCertificate(t, b.Dir, "mail")
	pairs := []string{"15.29.8.163:25", v4, "127.0.0.1:8025", b.auth,
		"/etc/ssl/certs/ssl-cert-snakeoil.pem", cert.CertFile, "/etc/ssl/private/ssl-cert-snakeoil.key", cert.KeyFile}
	nginx := servers.Nginx(t, page.Block(t, "nginx 2012", pairs...), v4)
	checkClient(t, b.deliver(t, dialFrom(t, "127.0.0.2", v4), "clear@example.com"), "127.0.0.2", "ESMTP")
	c := dialFrom(t, "127.0.0.2", v4)
	if err := c.Hello(); err != nil {
		t.Fatal(err)
	}
	if err := c.StartTLS(cert.ClientConfig()); err == nil {
		t.Error("TLS works with SSLv2, SSLv3 and TLSv1 only, although the page states that it fails")
	}
	nginx.Stop()

	// The changes that the page recommends.
	v4, _ = proxyAddresses(t)
	pairs[1] = v4
	pairs = append(pairs, "ssl_protocols  SSLv2 SSLv3 TLSv1;", "", "timeout 30000", "timeout 1m")
	servers.Nginx(t, page.Block(t, "nginx 2012", pairs...), v4)
	checkClient(t, b.deliver(t, dialStartTLS(t, "127.0.0.2", v4, cert), "secure@example.com"), "127.0.0.2", "ESMTP")
}

// TestNginxConcurrentSessions opens 500 concurrent sessions through nginx.
func TestNginxConcurrentSessions(t *testing.T) {
	const sessions = 500
	b, v4, _, _ := startBehindNginx(t, map[string]string{"GM_MAX_CLIENTS": "1000"})
	var clients sync.WaitGroup
	var open, acknowledged atomic.Int64
	allOpen := make(chan struct{})
	for i := range sessions {
		clients.Go(func() {
			c, err := client.Connect(v4, 60*time.Second)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for _, line := range []string{"EHLO client.test", "MAIL FROM:<a@example.org>", fmt.Sprintf("RCPT TO:<crowd%d@example.com>", i)} {
				if _, err := c.Expect(250, "%s", line); err != nil {
					t.Error(err)
					return
				}
			}
			// No client sends its message before all clients have a session with the daemon.
			if open.Add(1) == sessions {
				close(allOpen)
			}
			select {
			case <-allOpen:
			case <-time.After(60 * time.Second):
				t.Errorf("%d sessions after 60 s, want %d", open.Load(), sessions)
				return
			}
			if _, err := c.Expect(354, "DATA"); err != nil {
				t.Error(err)
				return
			}
			if _, err := c.Expect(250, "Subject: x\r\n\r\ntext\r\n."); err != nil {
				t.Error(err)
				return
			}
			acknowledged.Add(1)
		})
	}
	clients.Wait()
	if n := b.count(t); n != sessions || acknowledged.Load() != sessions {
		t.Errorf("%d messages acknowledged, %d rows, want %d", acknowledged.Load(), n, sessions)
	}
}
