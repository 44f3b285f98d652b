package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/servers"
)

// TestHAProxyPages runs the configurations of haproxy.md that have one server.
func TestHAProxyPages(t *testing.T) {
	page := test.ReadPage(t, "haproxy.md")
	for _, title := range []string{"tcp", "tcp, PROXY version 1", "check", "tls", "unix"} {
		t.Run(title, func(t *testing.T) {
			v4, v6 := proxyAddresses(t)
			keys := "tcp"
			if title == "unix" {
				keys = title
			}
			b := newProxied(t, page, keys)
			cert := test.NewCertificate(t, b.Dir, "mail")
			b.Configure(t, map[string]string{"GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile})
			pairs := []string{"0.0.0.0:25", v4, "127.0.0.1:2525", b.Addr}
			title, old := strings.CutSuffix(title, ", PROXY version 1")
			if old {
				pairs = append(pairs, "send-proxy-v2", "send-proxy")
			}
			switch title {
			case "tcp":
				pairs = append(pairs, "[::]:25", v6)
			case "tls":
				pairs[0] = "0.0.0.0:465"
				pairs = append(pairs, "/etc/haproxy/mail.example.com.pem", joinCertificate(t, b.Dir, cert))
			case "unix":
				path := filepath.Join(b.Dir, "smtp.sock")
				b.Sockets = append(b.Sockets, unixSocket(t, path))
				pairs[2], pairs[3] = "/run/goguerrillad/smtp.sock", path
			}
			b.start(t)
			haproxy := servers.HAProxy(t, page.Block(t, "haproxy "+title, pairs...), v4)
			if title == "tls" {
				r := b.deliver(t, dialTLS(t, v4, cert), "tls@example.com")
				checkClient(t, r, "127.0.0.1", "ESMTPS")
				if head := strings.ReplaceAll(string(r.mail), "\r\n\t", " "); !strings.Contains(head, "ESMTPS (TLS1.3 TLS_") {
					t.Errorf("Received does not name the TLS version and cipher: %s", head)
				}
			} else {
				checkClient(t, b.deliver(t, dialFrom(t, "127.0.0.2", v4), "clear@example.com"), "127.0.0.2", "ESMTP")
				c := dialStartTLS(t, "127.0.0.3", v4, cert)
				checkClient(t, b.deliver(t, c, "tls@example.com"), "127.0.0.3", "ESMTPS")
				for _, forged := range []string{"PROXY TCP4 192.0.2.66 192.0.2.1 1 25", "XCLIENT ADDR=192.0.2.66"} {
					if r, err := c.Cmd("%s", forged); err != nil || r.Code < 500 {
						t.Errorf("%s: %v, %v, want 5xx", forged, r, err)
					}
				}
			}
			if title == "tcp" {
				checkClient(t, b.deliver(t, dialFrom(t, "::1", v6), "v6@example.com"), "::1", "ESMTP")
			}
			if log := b.Log(); strings.Contains(log, "header refused") || strings.Contains(log, "remote=127.0.0.1:") && title != "tls" {
				t.Errorf("health checks are logged:\n%s\n%s", log, haproxy.Output())
			}
		})
	}
}

// TestHAProxyFailover kills one of two servers under load and restarts it.
func TestHAProxyFailover(t *testing.T) {
	page := test.ReadPage(t, "haproxy.md")
	one, two := newProxied(t, page, "tcp"), newProxied(t, page, "tcp")
	one.start(t)
	two.start(t)
	v4, _ := proxyAddresses(t)
	servers.HAProxy(t, page.Block(t, "haproxy several", "0.0.0.0:25", v4, "192.0.2.1:2525", one.Addr, "192.0.2.2:2525", two.Addr), v4)
	failover(t, v4, one, two, func() {})
}

// TestBalancingPage kills and restarts one of two servers behind nginx. One of the
// daemons chooses the server.
func TestBalancingPage(t *testing.T) {
	page := test.ReadPage(t, "balancing.md")
	chooser, other := newProxied(t, page, "chooses"), newProxied(t, page, "takes")
	var keys map[string]string
	if err := json.Unmarshal([]byte(page.Block(t, "json chooses", "192.0.2.1:2525", chooser.Addr, "192.0.2.2:2525", other.Addr)), &keys); err != nil {
		t.Fatal(err)
	}
	chooser.Configure(t, map[string]string{"NGINX_AUTH_BACKENDS": keys["NGINX_AUTH_BACKENDS"], "GSMTP_TRUSTED_PROXIES": "127.0.0.1"})
	other.Configure(t, map[string]string{"GSMTP_TRUSTED_PROXIES": "127.0.0.1"})
	other.start(t)
	chooser.start(t)
	v4, _ := proxyAddresses(t)
	servers.Nginx(t, page.Block(t, "nginx balancing", "0.0.0.0:25", v4, "192.0.2.1:8025", chooser.auth), v4)
	failover(t, v4, other, chooser, func() { chooser.AwaitLog(t, "backend unhealthy", 1) })
	chooser.AwaitLog(t, "backend healthy again", 1)
}

// failover sends messages through a proxy to two servers, kills one server, waits until
// detected returns, and restarts the killed server. The other server must receive
// messages all the time, and every acknowledged message must be stored.
func failover(t *testing.T, addr string, killed, other *proxied, detected func()) {
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
				c, err := client.Connect(addr, 20*time.Second)
				if err != nil { // the next round is the retry
					continue
				}
				if c.Greeting.Code == 220 && c.Hello() == nil {
					if r, err := c.Send("a@example.org", "", []string{to}, []byte("x\r\n")); err == nil && r.Code == 250 {
						mu.Lock()
						acknowledged = append(acknowledged, to)
						mu.Unlock()
					} else if err == nil && r.Code >= 500 {
						t.Errorf("permanent refusal: %v", r)
					}
				}
				c.Close()
			}
		})
	}
	awaitMessages := func(p *proxied) {
		t.Helper()
		before := p.count(t)
		test.Await(t, nil, 30*time.Second, "waiting for 20 messages at "+p.Addr, func() error {
			if n := p.count(t); n < before+20 {
				return fmt.Errorf("%d messages", n-before)
			}
			return nil
		})
	}
	awaitMessages(killed)
	awaitMessages(other)
	killed.Kill()
	awaitMessages(other)
	detected()
	awaitMessages(other)
	killed.StartAwaitReady(t)
	awaitMessages(killed)
	end()

	stored := append(recipients(t, killed), recipients(t, other)...)
	slices.Sort(stored)
	for _, to := range acknowledged {
		if _, ok := slices.BinarySearch(stored, to); !ok {
			t.Errorf("the message to %s was acknowledged and is not stored", to)
		}
	}
	t.Logf("%d acknowledged, %d stored", len(acknowledged), len(stored))
}

// recipients returns the recipients of all rows.
func recipients(t *testing.T, p *proxied) []string {
	t.Helper()
	found, err := p.db.Query("SELECT `to` FROM " + p.name)
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
