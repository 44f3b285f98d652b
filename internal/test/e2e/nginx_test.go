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

// behindNginx starts the first configuration of nginx.md, with more keys.
func behindNginx(t *testing.T, keys map[string]string) (b *behind, v4, v6 string, cert *test.Certificate) {
	t.Helper()
	page := test.ReadPage(t, "nginx.md")
	b = newBehind(t, page, "starttls")
	b.Configure(t, keys)
	b.start(t)
	v4, v6 = front(t)
	cert = test.NewCertificate(t, b.Dir, "mail")
	servers.Nginx(t, page.Block(t, "nginx starttls", "0.0.0.0:25", v4, "[::]:25", v6, "127.0.0.1:8025", b.auth,
		"/etc/ssl/certs/mail.example.com.pem", cert.CertFile, "/etc/ssl/private/mail.example.com.key", cert.KeyFile), v4)
	return b, v4, v6, cert
}

// TestForgedXClient: what a client says of itself is not believed, behind nginx
// or beside it, in clear or inside TLS.
func TestForgedXClient(t *testing.T) {
	b, v4, _, cert := behindNginx(t, map[string]string{"GSMTP_TRUSTED_PROXIES": "127.0.0.1"})
	secure := dialFrom(t, "127.0.0.3", v4)
	if err := secure.Hello(); err != nil {
		t.Fatal(err)
	}
	if err := secure.StartTLS(cert.ClientConfig()); err != nil {
		t.Fatal(err)
	}
	for ip, c := range map[string]*client.Client{
		"127.0.0.2": dialFrom(t, "127.0.0.2", v4),
		"127.0.0.3": secure,
		"127.0.0.4": dialFrom(t, "127.0.0.4", b.Addr), // directly
	} {
		// From the first recipient on nginx passes on whatever comes.
		came(t, b.deliver(t, c, ip+"@example.com"), ip, "ESMTP")
		for _, forged := range []string{"ADDR=127.0.0.1", "ADDR=198.51.100.1 LOGIN=root", "NAME=" + strings.Repeat("x", 300), "ADDR=192.0.2.1\x1b[2J"} {
			if r, err := c.Cmd("XCLIENT %s", forged); err != nil || r.Code != 550 {
				t.Errorf("%s: %v, %v", forged, r, err)
			}
		}
		came(t, b.deliver(t, c, "again"+ip+"@example.com"), ip, "ESMTP")
	}
	log := b.Log()
	if n := strings.Count(log, "XCLIENT refused"); n != 3 || !strings.Contains(log, "remote=127.0.0.2:0 proxy=127.0.0.1:") {
		t.Errorf("refused %d times:\n%s", n, log)
	}
}

// TestNginxStartTLS is the first configuration of nginx.md.
func TestNginxStartTLS(t *testing.T) {
	b, v4, v6, cert := behindNginx(t, nil)

	came(t, b.deliver(t, dialFrom(t, "127.0.0.2", v4), "v4@example.com"), "127.0.0.2", "ESMTP")
	came(t, b.deliver(t, dialFrom(t, "::1", v6), "v6@example.com"), "::1", "ESMTP")
	secure := dialFrom(t, "127.0.0.3", v4)
	if err := secure.Hello(); err != nil {
		t.Fatal(err)
	}
	if err := secure.StartTLS(cert.ClientConfig()); err != nil {
		t.Fatal(err)
	}
	came(t, b.deliver(t, secure, "tls@example.com"), "127.0.0.3", "ESMTP")

	// A refusal is that of SMTP, and the client may go on behind it.
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
	came(t, b.deliver(t, c, "after@example.com"), "127.0.0.4", "ESMTP")

	// A whole mail in one piece, by DATA and by BDAT.
	for to, text := range map[string]string{
		"piped@example.com":   "DATA\r\nSubject: x\r\n\r\n..text\r\n.\r\nQUIT\r\n",
		"chunked@example.com": "BDAT 16\r\nSubject: x\r\n\r\n.tBDAT 5 LAST\r\next\r\nQUIT\r\n",
	} {
		c := dialFrom(t, "127.0.0.5", v4)
		fmt.Fprintf(c.Conn, "EHLO client.test\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<%s>\r\n%s", to, text)
		for code := 0; code != 221; {
			r, err := c.Reply()
			if err != nil || r.Code >= 400 {
				t.Fatalf("%s: %v, %v", to, r, err)
			}
			code = r.Code
		}
		r := b.only(t, to)
		if came(t, r, "127.0.0.5", "ESMTP"); !bytes.HasSuffix(r.mail, []byte("Subject: x\r\n\r\n.text\r\n")) {
			t.Errorf("%s: %q", to, r.mail)
		}
	}
}

// TestNginxImplicit is TLS from the first byte.
func TestNginxImplicit(t *testing.T) {
	page := test.ReadPage(t, "nginx.md")
	b := newBehind(t, page, "starttls")
	b.start(t)
	v4, _ := front(t)
	cert := test.NewCertificate(t, b.Dir, "mail")
	servers.Nginx(t, page.Block(t, "nginx implicit", "0.0.0.0:465", v4, "127.0.0.1:8025", b.auth,
		"/etc/ssl/certs/mail.example.com.pem", cert.CertFile, "/etc/ssl/private/mail.example.com.key", cert.KeyFile), v4)
	came(t, b.deliver(t, dialTLS(t, v4, cert), "tls@example.com"), "127.0.0.1", "ESMTP")
}

// TestNginxProxyHeader has a PROXY header in place of XCLIENT.
func TestNginxProxyHeader(t *testing.T) {
	page := test.ReadPage(t, "nginx.md")
	b := newBehind(t, page, "proxy")
	b.start(t)
	v4, _ := front(t)
	servers.Nginx(t, page.Block(t, "nginx proxy", "0.0.0.0:25", v4, "127.0.0.1:8025", b.auth), v4)
	r := b.deliver(t, dialFrom(t, "127.0.0.2", v4), "header@example.com")
	if r.ip != "127.0.0.2" || !bytes.Contains(r.mail, []byte("Received: from mail.example.com ([127.0.0.2])")) {
		t.Errorf("row of %q: %s", r.ip, r.mail)
	}
}

// TestNginxBehindProxy: nginx that is itself behind a proxy names a client whose
// family is not that of its own address.
func TestNginxBehindProxy(t *testing.T) {
	page := test.ReadPage(t, "nginx.md")
	b := newBehind(t, page, "proxy")
	b.start(t)
	v4, _ := front(t)
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
			t.Errorf("%s: row of %q\n%s", tt.header, r.ip, b.Log())
		}
	}
}

// TestNginx2012 is the block that people have had since 2012.
func TestNginx2012(t *testing.T) {
	page := test.ReadPage(t, "nginx.md")
	b := newBehind(t, page, "starttls")
	b.start(t)
	v4, _ := front(t)
	cert := test.NewCertificate(t, b.Dir, "mail")
	pairs := []string{"15.29.8.163:25", v4, "127.0.0.1:8025", b.auth,
		"/etc/ssl/certs/ssl-cert-snakeoil.pem", cert.CertFile, "/etc/ssl/private/ssl-cert-snakeoil.key", cert.KeyFile}
	nginx := servers.Nginx(t, page.Block(t, "nginx 2012", pairs...), v4)
	came(t, b.deliver(t, dialFrom(t, "127.0.0.2", v4), "clear@example.com"), "127.0.0.2", "ESMTP")
	c := dialFrom(t, "127.0.0.2", v4)
	if err := c.Hello(); err != nil {
		t.Fatal(err)
	}
	if err := c.StartTLS(cert.ClientConfig()); err == nil {
		t.Error("TLS works with SSLv2, SSLv3 and TLSv1 alone: the page says that it does not")
	}
	nginx.Stop()

	// As the page says it should be changed.
	v4, _ = front(t)
	pairs[1] = v4
	pairs = append(pairs, "ssl_protocols  SSLv2 SSLv3 TLSv1;", "", "timeout 30000", "timeout 1m")
	servers.Nginx(t, page.Block(t, "nginx 2012", pairs...), v4)
	c = dialFrom(t, "127.0.0.2", v4)
	if err := c.Hello(); err != nil {
		t.Fatal(err)
	}
	if err := c.StartTLS(cert.ClientConfig()); err != nil {
		t.Fatal(err)
	}
	came(t, b.deliver(t, c, "secure@example.com"), "127.0.0.2", "ESMTP")
}

// TestNginxCrowd is 500 sessions at once.
func TestNginxCrowd(t *testing.T) {
	const sessions = 500
	b, v4, _, _ := behindNginx(t, map[string]string{"GM_MAX_CLIENTS": "1000"})
	var crowd sync.WaitGroup
	var stored atomic.Int64
	inside := make(chan struct{})
	var in atomic.Int64
	for i := range sessions {
		crowd.Go(func() {
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
			// All of them have a session behind nginx before the first goes on.
			if in.Add(1) == sessions {
				close(inside)
			}
			select {
			case <-inside:
			case <-time.After(60 * time.Second):
				t.Error("not all came in")
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
			stored.Add(1)
		})
	}
	crowd.Wait()
	if n := b.count(t); n != sessions || stored.Load() != sessions {
		t.Errorf("%d mails acknowledged, %d rows", stored.Load(), n)
	}
}

// TestAuthHTTPReload: the server that nginx asks comes and goes with a reload,
// and so does the trust in its XCLIENT.
func TestAuthHTTPReload(t *testing.T) {
	b, v4, _, _ := behindNginx(t, nil)
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
		{map[string]string{"NGINX_AUTH_ENABLED": "N"}, 451}, // nobody answers nginx
		{map[string]string{"NGINX_AUTH_ENABLED": "Y"}, 250},
		{map[string]string{"GSMTP_TRUSTED_PROXIES": "192.0.2.1"}, 550}, // XCLIENT is refused
		{map[string]string{"GSMTP_TRUSTED_PROXIES": "127.0.0.1"}, 250},
		{map[string]string{"GM_ALLOWED_HOSTS": "elsewhere.example"}, 550},
	} {
		if !b.Reload(t, tt.change) {
			t.Fatalf("%v: refused\n%s", tt.change, b.Log())
		}
		if r := try(); r.Code != tt.code {
			t.Errorf("%v: %v", tt.change, r)
		}
	}
	for _, want := range []string{"XCLIENT refused", "nginx is not a trusted proxy"} {
		if n := strings.Count(b.Log(), want); n != 1 {
			t.Errorf("%q is logged %d times", want, n)
		}
	}
}
