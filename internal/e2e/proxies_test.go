package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"goguerrillad/internal/testserver"
)

// behind is a daemon with what a page of docs gives it as configuration, and
// the ports of the test in place of the page's.
type behind struct {
	*testserver.Daemon
	auth string // NGINX_AUTH
	*table
}

// newBehind makes it from the block of a page; it is not started.
func newBehind(t *testing.T, page testserver.Page, title string) *behind {
	t.Helper()
	keys := map[string]string{}
	if err := json.Unmarshal([]byte(page.Block(t, "json "+title)), &keys); err != nil {
		t.Fatal(err)
	}
	d := newDaemon(t, nil)
	auth := fmt.Sprintf("127.0.0.1:%d", testserver.FreePort(t))
	if keys["GSTMP_LISTEN_INTERFACE"] != "" {
		keys["GSTMP_LISTEN_INTERFACE"] = d.Addr
	}
	if keys["NGINX_AUTH_ENABLED"] == "Y" {
		keys["NGINX_AUTH"] = auth
	}
	d.Configure(t, keys)
	return &behind{d, auth, nil}
}

// start starts it, and finds its table.
func (b *behind) start(t *testing.T) {
	t.Helper()
	b.StartSilent(t)
	b.table = sqliteTable(t, b.Daemon)
}

// front is the address of a proxy, and of the same port by IPv6.
func front(t *testing.T) (v4, v6 string) {
	port := testserver.FreePort(t)
	return fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("[::1]:%d", port)
}

// dialFrom connects as the client of this address.
func dialFrom(t *testing.T, local, addr string) *testserver.Client {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}, Timeout: 20 * time.Second}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c, err := testserver.NewClient(conn, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// deliver sends a mail to an address of its own on a session that has said
// nothing yet, and returns its row.
func (b *behind) deliver(t *testing.T, c *testserver.Client, to string) row {
	t.Helper()
	if err := c.Hello(); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Send("sender@example.org", "", []string{to}, []byte("Subject: x\r\n\r\ntext\r\n")); err != nil || r.Code != 250 {
		t.Fatalf("%v, %v\n%s", r, err, b.Log())
	}
	return b.only(t, to)
}

// only returns the one row of a recipient.
func (b *behind) only(t *testing.T, to string) row {
	t.Helper()
	rows, err := b.to(to)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows for %s, %v\n%s", len(rows), to, err, b.Log())
	}
	return rows[0]
}

// came wants a row to be of this client, by this protocol.
func came(t *testing.T, r row, ip, with string) {
	t.Helper()
	head, _, _ := strings.Cut(string(r.mail), "\r\n\r\n")
	head = strings.ReplaceAll(head, "\r\n\t", " ")
	literal := "[" + ip + "]"
	if strings.Contains(ip, ":") {
		literal = "[IPv6:" + ip + "]"
	}
	if r.ip != ip || !strings.Contains(head, "Received: from client.test ("+literal+")") || !strings.Contains(head, " with "+with+" ") {
		t.Errorf("want %s by %s, got a row of %q:\n%s", ip, with, r.ip, head)
	}
}

// behindNginx starts the first configuration of nginx.md, with more keys.
func behindNginx(t *testing.T, keys map[string]string) (b *behind, v4, v6 string, cert *testserver.Certificate) {
	t.Helper()
	page := testserver.ReadPage(t, "nginx.md")
	b = newBehind(t, page, "starttls")
	b.Configure(t, keys)
	b.start(t)
	v4, v6 = front(t)
	cert = testserver.NewCertificate(t, b.Dir, "mail")
	testserver.Nginx(t, page.Block(t, "nginx starttls", "0.0.0.0:25", v4, "[::]:25", v6, "127.0.0.1:8025", b.auth,
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
	for ip, c := range map[string]*testserver.Client{
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
		var want, got testserver.Reply
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
		for _, c := range []*testserver.Client{c, direct} {
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
	page := testserver.ReadPage(t, "nginx.md")
	b := newBehind(t, page, "starttls")
	b.start(t)
	v4, _ := front(t)
	cert := testserver.NewCertificate(t, b.Dir, "mail")
	testserver.Nginx(t, page.Block(t, "nginx implicit", "0.0.0.0:465", v4, "127.0.0.1:8025", b.auth,
		"/etc/ssl/certs/mail.example.com.pem", cert.CertFile, "/etc/ssl/private/mail.example.com.key", cert.KeyFile), v4)
	came(t, b.deliver(t, dialTLS(t, v4, cert), "tls@example.com"), "127.0.0.1", "ESMTP")
}

// TestNginxProxyHeader has a PROXY header in place of XCLIENT.
func TestNginxProxyHeader(t *testing.T) {
	page := testserver.ReadPage(t, "nginx.md")
	b := newBehind(t, page, "proxy")
	b.start(t)
	v4, _ := front(t)
	testserver.Nginx(t, page.Block(t, "nginx proxy", "0.0.0.0:25", v4, "127.0.0.1:8025", b.auth), v4)
	r := b.deliver(t, dialFrom(t, "127.0.0.2", v4), "header@example.com")
	if r.ip != "127.0.0.2" || !bytes.Contains(r.mail, []byte("Received: from mail.example.com ([127.0.0.2])")) {
		t.Errorf("row of %q: %s", r.ip, r.mail)
	}
}

// TestNginxBehindProxy: nginx that is itself behind a proxy names a client whose
// family is not that of its own address.
func TestNginxBehindProxy(t *testing.T) {
	page := testserver.ReadPage(t, "nginx.md")
	b := newBehind(t, page, "proxy")
	b.start(t)
	v4, _ := front(t)
	testserver.Nginx(t, page.Block(t, "nginx proxy", "listen 0.0.0.0:25", "listen "+v4+" proxy_protocol; set_real_ip_from 127.0.0.1",
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
		c, err := testserver.NewClient(conn, 20*time.Second)
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
	page := testserver.ReadPage(t, "nginx.md")
	b := newBehind(t, page, "starttls")
	b.start(t)
	v4, _ := front(t)
	cert := testserver.NewCertificate(t, b.Dir, "mail")
	pairs := []string{"15.29.8.163:25", v4, "127.0.0.1:8025", b.auth,
		"/etc/ssl/certs/ssl-cert-snakeoil.pem", cert.CertFile, "/etc/ssl/private/ssl-cert-snakeoil.key", cert.KeyFile}
	nginx := testserver.Nginx(t, page.Block(t, "nginx 2012", pairs...), v4)
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
	testserver.Nginx(t, page.Block(t, "nginx 2012", pairs...), v4)
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
			c, err := testserver.Connect(v4, 60*time.Second)
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
	try := func() testserver.Reply {
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
	for _, want := range []string{"XCLIENT refused", "nginx is not among the trusted proxies"} {
		if n := strings.Count(b.Log(), want); n != 1 {
			t.Errorf("%q is logged %d times", want, n)
		}
	}
}

// TestHAProxyPages runs the configurations of haproxy.md with one server.
func TestHAProxyPages(t *testing.T) {
	page := testserver.ReadPage(t, "haproxy.md")
	for _, title := range []string{"tcp", "tcp of version 1", "check", "tls", "unix"} {
		t.Run(title, func(t *testing.T) {
			v4, v6 := front(t)
			json := "tcp"
			if title == "unix" {
				json = title
			}
			b := newBehind(t, page, json)
			cert := testserver.NewCertificate(t, b.Dir, "mail")
			b.Configure(t, map[string]string{"GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile})
			pairs := []string{"0.0.0.0:25", v4, "127.0.0.1:2525", b.Addr}
			title, old := strings.CutSuffix(title, " of version 1")
			if old {
				pairs = append(pairs, "send-proxy-v2", "send-proxy")
			}
			switch title {
			case "tcp":
				pairs = append(pairs, "[::]:25", v6)
			case "tls":
				pairs[0] = "0.0.0.0:465"
				pairs = append(pairs, "/etc/haproxy/mail.example.com.pem", joined(t, b.Dir, cert))
			case "unix":
				path := filepath.Join(b.Dir, "smtp.sock")
				b.Sockets = append(b.Sockets, unixSocket(t, path))
				pairs[2], pairs[3] = "/run/goguerrillad/smtp.sock", path
			}
			b.start(t)
			haproxy := testserver.HAProxy(t, page.Block(t, "haproxy "+title, pairs...), v4)
			if title == "tls" {
				r := b.deliver(t, dialTLS(t, v4, cert), "tls@example.com")
				came(t, r, "127.0.0.1", "ESMTPS")
				if head := strings.ReplaceAll(string(r.mail), "\r\n\t", " "); !strings.Contains(head, "ESMTPS (TLS1.3 TLS_") {
					t.Errorf("Received does not tell of the TLS: %s", head)
				}
			} else {
				came(t, b.deliver(t, dialFrom(t, "127.0.0.2", v4), "clear@example.com"), "127.0.0.2", "ESMTP")
				c := dialFrom(t, "127.0.0.3", v4)
				if err := c.Hello(); err != nil {
					t.Fatal(err)
				}
				if err := c.StartTLS(cert.ClientConfig()); err != nil {
					t.Fatal(err)
				}
				came(t, b.deliver(t, c, "tls@example.com"), "127.0.0.3", "ESMTPS")
				for _, forged := range []string{"PROXY TCP4 192.0.2.66 192.0.2.1 1 25", "XCLIENT ADDR=192.0.2.66"} {
					if r, err := c.Cmd("%s", forged); err != nil || r.Code < 500 {
						t.Errorf("%s: %v, %v", forged, r, err)
					}
				}
			}
			if title == "tcp" {
				came(t, b.deliver(t, dialFrom(t, "::1", v6), "v6@example.com"), "::1", "ESMTP")
			}
			if log := b.Log(); strings.Contains(log, "header refused") || strings.Contains(log, "remote=127.0.0.1:") && title != "tls" {
				t.Errorf("the checks are logged:\n%s\n%s", log, haproxy.Output())
			}
		})
	}
}

// TestHAProxySeveral kills one of two servers in the load, and has it return.
func TestHAProxySeveral(t *testing.T) {
	page := testserver.ReadPage(t, "haproxy.md")
	one, two := newBehind(t, page, "tcp"), newBehind(t, page, "tcp")
	one.start(t)
	two.start(t)
	v4, _ := front(t)
	testserver.HAProxy(t, page.Block(t, "haproxy several", "0.0.0.0:25", v4, "192.0.2.1:2525", one.Addr, "192.0.2.2:2525", two.Addr), v4)
	killOne(t, v4, one, two, func() {})
}

// TestBalancingPage does the same with nginx and a daemon that chooses.
func TestBalancingPage(t *testing.T) {
	page := testserver.ReadPage(t, "balancing.md")
	chooser, other := newBehind(t, page, "chooses"), newBehind(t, page, "takes")
	var keys map[string]string
	if err := json.Unmarshal([]byte(page.Block(t, "json chooses", "192.0.2.1:2525", chooser.Addr, "192.0.2.2:2525", other.Addr)), &keys); err != nil {
		t.Fatal(err)
	}
	chooser.Configure(t, map[string]string{"NGINX_AUTH_BACKENDS": keys["NGINX_AUTH_BACKENDS"], "GSMTP_TRUSTED_PROXIES": "127.0.0.1"})
	other.Configure(t, map[string]string{"GSMTP_TRUSTED_PROXIES": "127.0.0.1"})
	other.start(t)
	chooser.start(t)
	v4, _ := front(t)
	testserver.Nginx(t, page.Block(t, "nginx balancing", "0.0.0.0:25", v4, "192.0.2.1:8025", chooser.auth), v4)
	killOne(t, v4, other, chooser, func() { chooser.AwaitLog(t, "backend does not answer", 1) })
	chooser.AwaitLog(t, "backend answers again", 1)
}

// killOne sends mail through a proxy to two servers, kills the victim in the
// middle and, when that was noticed, starts it again: what was acknowledged is
// stored, mail goes on at the other, and in the end both have their share.
func killOne(t *testing.T, addr string, victim, other *behind, noticed func()) {
	t.Helper()
	var mu sync.Mutex
	var acknowledged []string
	var next atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); load.Wait() })
	defer end()
	for range 8 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				to := fmt.Sprintf("load%d@example.com", next.Add(1))
				c, err := testserver.Connect(addr, 20*time.Second)
				if err != nil { // tried again, as by any sender
					continue
				}
				if c.Greeting.Code == 220 && c.Hello() == nil {
					if r, err := c.Send("a@example.org", "", []string{to}, []byte("x\r\n")); err == nil && r.Code == 250 {
						mu.Lock()
						acknowledged = append(acknowledged, to)
						mu.Unlock()
					} else if err == nil && r.Code >= 500 {
						t.Errorf("refused for good: %v", r)
					}
				}
				c.Close()
			}
		})
	}
	more := func(b *behind) {
		t.Helper()
		before := b.count(t)
		testserver.Await(t, nil, 30*time.Second, "mail at "+b.Addr, func() error {
			if n := b.count(t); n < before+20 {
				return fmt.Errorf("%d mails", n-before)
			}
			return nil
		})
	}
	more(victim)
	more(other)
	victim.Kill()
	more(other)
	noticed()
	more(other)
	victim.StartSilent(t)
	more(victim)
	end()

	stored := append(recipients(t, victim), recipients(t, other)...)
	slices.Sort(stored)
	for _, to := range acknowledged {
		if _, ok := slices.BinarySearch(stored, to); !ok {
			t.Errorf("%s was acknowledged and is lost", to)
		}
	}
	t.Logf("%d acknowledged, %d stored", len(acknowledged), len(stored))
}

// recipients of all rows.
func recipients(t *testing.T, b *behind) []string {
	t.Helper()
	found, err := b.db.Query("SELECT `to` FROM " + b.name)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	var list []string
	for found.Next() {
		var to string
		if err := found.Scan(&to); err != nil {
			t.Fatal(err)
		}
		list = append(list, to)
	}
	return list
}

// TestPagesAreTested: no configuration stands in a page that no test runs.
func TestPagesAreTested(t *testing.T) {
	tested := map[string][]string{
		"nginx.md": {"json starttls", "ini port", "ini auth", "nginx starttls", "nginx implicit", "json proxy", "nginx proxy", "nginx 2012"},
		"haproxy.md": {"json tcp", "haproxy tcp", "haproxy check", "haproxy tls", "ini unix", "json unix", "haproxy unix",
			"haproxy several"},
		"balancing.md": {"json chooses", "json takes", "nginx balancing"},
		"cluster.md":   {"json galera"}, // in package faults
		"webhook.md":   {"json webhook", "python receiver", "javascript receiver", "php receiver"},
		"stream.md":    {"json stream", "python consumer", "go consumer"},
	}
	for name, titles := range tested {
		for title := range testserver.ReadPage(t, name) {
			if !slices.Contains(titles, title) {
				t.Errorf("%s: nobody runs %q", name, title)
			}
		}
	}
}

// dialTLS connects by TLS.
func dialTLS(t *testing.T, addr string, cert *testserver.Certificate) *testserver.Client {
	t.Helper()
	c, err := testserver.ConnectTLS(addr, cert.ClientConfig(), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// joined writes certificate and key into one file, as HAProxy wants them.
func joined(t *testing.T, dir string, cert *testserver.Certificate) string {
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

// unixSocket listens on a path that everybody may connect to.
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
