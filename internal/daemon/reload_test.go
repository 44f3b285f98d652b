package daemon

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	testdaemon "goguerrillad/internal/test/daemon"
)

// dialogue opens a connection, sends a header before the greeting, then the commands,
// and returns the greeting and the replies.
func dialogue(t *testing.T, d *testdaemon.Daemon, header string, commands ...string) string {
	t.Helper()
	conn, err := net.Dial("tcp", d.Addr)
	if err != nil {
		t.Fatalf("%v\n%s", err, d.Log())
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, header); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(conn, 20*time.Second)
	if err != nil {
		t.Fatalf("%v\n%s", err, d.Log())
	}
	replies := c.Greeting.String() + "\n"
	for _, command := range commands {
		r, err := c.Cmd("%s", command)
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, d.Log())
		}
		replies += r.String() + "\n"
	}
	return replies
}

// get returns the header and the body of an auth_http or status response.
func get(t *testing.T, address, path string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	q, err := http.NewRequest("GET", "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Auth-Method", "none")
	r, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(r.Header) + "\n" + string(body)
}

// messageCommands returns the commands that send a small message to an address.
func messageCommands(to string) []string {
	return []string{"EHLO client.test", "MAIL FROM:<a@example.org>", "RCPT TO:<" + to + ">", "DATA", "Subject: x\r\n\r\n."}
}

// TestReloadKeys: a reload applies each changed key to all parts of the daemon that use
// it.
func TestReloadKeys(t *testing.T) {
	addrs := freeAddresses(t)
	d := shared.Daemon(t, addrs)
	d.Addr = addrs["GSTMP_LISTEN_INTERFACE"]
	cert := test.NewCertificate(t, d.Dir, "mx")
	d.Configure(t, map[string]string{"NGINX_AUTH_ENABLED": "Y", "GSMTP_TRUSTED_PROXIES": "192.0.2.1", "GM_ALLOWED_HOSTS": "example.com",
		"GSMTP_MAX_SIZE": "100000", "GSMTP_MEMORY": "1000000"})
	d.Start(t)
	smtp := func(commands ...string) func() string {
		return func() string { return dialogue(t, d, "", commands...) }
	}
	metrics := func() string { return get(t, addrs["GM_METRICS"], "/metrics") }
	list := func(n string) string {
		out, err := d.Cmd("-list", n).CombinedOutput()
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%d messages\n%s", strings.Count(string(out), "\n"), out)
	}
	for range 2 {
		if replies := smtp(messageCommands("known@example.com")...)(); !strings.Contains(replies, "queued as ") {
			t.Fatal(replies)
		}
	}
	for _, tt := range []struct {
		name      string
		change    map[string]string
		observe   func() string
		old, next string // part of the result of observe without and with the change
	}{
		{"certificate", map[string]string{"GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile}, smtp("EHLO x", "STARTTLS"), "\n502 5.5.1 ", "\n220 2.0.0 "},
		{"end of the certificate", map[string]string{"GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile}, metrics,
			"goguerrillad_build_info", fmt.Sprintf("goguerrillad_certificate_expiry_timestamp_seconds{key=\"ECDSA\",name=\"mx\"} %g\n", float64(cert.Leaf.NotAfter.Unix()))},
		{"trusted proxies", map[string]string{"GSMTP_TRUSTED_PROXIES": "127.0.0.0/8"}, smtp("EHLO x", "XCLIENT HELO=y"), "\n550 5.7.0 ", "\n220 mx.test "},
		{"PROXY header", map[string]string{"GSMTP_TRUSTED_PROXIES": "127.0.0.0/8", "GSMTP_PROXY_PROTOCOL": "Y"}, func() string {
			return dialogue(t, d, "PROXY TCP4 192.0.2.9 127.0.0.1 1 25\r\n", "NOOP")
		}, "\n500 5.5.", "\n250 2.0.0 "},
		{"postmaster", map[string]string{"GM_PRIMARY_MAIL_HOST": "primary.example"}, func() string {
			return smtp(messageCommands("postmaster")...)() + list("1")
		}, "<postmaster@mx.test>", "<postmaster@primary.example>"},
		{"limit of sessions", map[string]string{"GM_MAX_CLIENTS": "7"}, metrics, "goguerrillad_sessions_limit 500\n", "goguerrillad_sessions_limit 7\n"},
		{"limit of an address", map[string]string{"GM_MAX_CLIENTS_PER_IP": "1"}, func() string {
			defer openSession(t, d).Close()
			c := connect(t, d)
			defer c.Close()
			return "\n" + c.Greeting.String()
		}, "\n220 mx.test ", "\n421 4.3.2 "},
		{"limit of memory", map[string]string{"GSMTP_MEMORY": "2000000"}, metrics, "goguerrillad_memory_limit_bytes 1e+06\n", "goguerrillad_memory_limit_bytes 2e+06\n"},
		{"store", map[string]string{"GM_SAVE_MAIL": "maildir", "GM_MAILDIR": filepath.Join(d.Dir, "Maildir")}, func() string {
			return smtp(messageCommands("known@example.com")...)() + get(t, addrs["GM_METRICS"], "/") + list("2")
		}, "<dd>sqlite, available<", "<dd>maildir, available<"},
		{"table", map[string]string{"GM_MAIL_TABLE": "other"}, func() string { return smtp(messageCommands("known@example.com")...)() + list("2") }, "2 messages\n", "1 messages\n"},
		{"recipients", map[string]string{"GM_RECIPIENT_QUERY": "SELECT 1 FROM new_mail WHERE `to` = :address"}, smtp(messageCommands("other@example.com")[:3]...), "\n250 2.1.5 ", "\n550 5.1.1 "},
		{"backends", map[string]string{"NGINX_AUTH_BACKENDS": "127.0.0.1:1"}, func() string { return get(t, addrs["NGINX_AUTH"], "/") }, "Auth-Status:[OK]", "Auth-Error-Code:[451 4.3.2]"},
	} {
		restore := map[string]string{}
		for key := range tt.change {
			restore[key] = d.Keys[key]
		}
		for _, step := range []struct {
			change    map[string]string
			want, not string
		}{{nil, tt.old, tt.next}, {tt.change, tt.next, tt.old}, {restore, tt.old, tt.next}} {
			if !d.Reload(t, step.change) {
				t.Fatalf("%s: %s", tt.name, d.Log())
			}
			got := tt.observe()
			if !strings.Contains(got, step.want) || strings.Contains(got, step.not) && tt.old != "goguerrillad_build_info" {
				t.Errorf("%s, %v: want %q, not %q:\n%s", tt.name, step.change, step.want, step.not, got)
			}
		}
	}
	if !d.Reload(t, map[string]string{"GSMTP_TIMEOUT": "1"}) {
		t.Fatal(d.Log())
	}
	c := connect(t, d)
	defer c.Close()
	if r, err := c.Reply(); err != nil || !strings.HasPrefix(r.String(), "421 4.4.2 ") {
		t.Errorf("after GSMTP_TIMEOUT=1: %v, %v", r, err)
	}
}

// connect returns a client that has read the greeting.
func connect(t *testing.T, d *testdaemon.Daemon) *client.Client {
	t.Helper()
	c, err := client.Connect(d.Addr, 20*time.Second)
	if err != nil {
		t.Fatalf("%v\n%s", err, d.Log())
	}
	return c
}

// openSession returns a client with a session. It waits until the limits allow the
// session.
func openSession(t *testing.T, d *testdaemon.Daemon) (c *client.Client) {
	t.Helper()
	test.Await(t, d.Process(), 20*time.Second, "opening a session", func() error {
		if c = connect(t, d); c.Greeting.Code == 220 {
			return nil
		}
		c.Close()
		return errors.New(c.Greeting.String())
	})
	return c
}

// TestReloadMemory: sessions that wait for memory continue when a reload raises
// GSMTP_MEMORY.
func TestReloadMemory(t *testing.T) {
	addrs := freeAddresses(t)
	d := startDaemon(t, addrs, map[string]string{"GM_SAVE_MAIL": "discard", "GSMTP_MAX_SIZE": "100000", "GSMTP_MEMORY": "400000"})
	var clients []*client.Client
	for range 8 {
		c := connect(t, d)
		defer c.Close()
		for _, command := range messageCommands("b@example.com")[:3] {
			if r, err := c.Cmd("%s", command); err != nil || r.Code != 250 {
				t.Fatalf("%s: %v, %v", command, r, err)
			}
		}
		if _, err := io.WriteString(c.Conn, "DATA\r\n"+strings.Repeat(strings.Repeat("x", 98)+"\r\n", 900)); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	awaitWaiting := func(want bool) {
		t.Helper()
		test.Await(t, d.Process(), 20*time.Second, "waiting for the sessions that wait for memory", func() error {
			text := get(t, addrs["GM_METRICS"], "/metrics")
			if strings.Contains(text, "goguerrillad_memory_waiting_sessions 0\n") == want {
				return fmt.Errorf("sessions wait: %v, want %v", !want, want)
			}
			return nil
		})
	}
	awaitWaiting(true)
	if !d.Reload(t, map[string]string{"GSMTP_MEMORY": "4000000"}) {
		t.Fatal(d.Log())
	}
	awaitWaiting(false)
	for _, c := range clients {
		if r, err := c.Reply(); err != nil || r.Code != 354 {
			t.Errorf("DATA: %v, %v", r, err)
		}
		if r, err := c.Cmd("."); err != nil || r.Code != 250 {
			t.Errorf("end of the message: %v, %v", r, err)
		}
	}
}

// TestReloadClients: a reload that raises GM_MAX_CLIENTS also raises the limit of HTTP
// connections.
func TestReloadClients(t *testing.T) {
	addrs := freeAddresses(t)
	d := startDaemon(t, addrs, map[string]string{"GM_MAX_CLIENTS": "1"})
	if !d.Reload(t, map[string]string{"GM_MAX_CLIENTS": "2"}) {
		t.Fatal(d.Log())
	}
	for range 2 {
		conn, err := net.Dial("tcp", addrs["GM_METRICS"])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Errorf("no response on a connection within the limit: %v", err)
		}
	}
}

// TestReloadRefused: a reload that cannot bind one of the addresses keeps all addresses,
// the limits and the log file.
func TestReloadRefused(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	old := freeAddresses(t)
	d := startDaemon(t, old, map[string]string{"NGINX_AUTH_ENABLED": "Y", "GM_MAX_CLIENTS": "500"})
	for _, key := range addressKeys {
		next := freeAddresses(t)
		change := maps.Clone(next)
		delete(next, key)
		change[key] = busy.Addr().String()
		change["GM_MAX_CLIENTS"] = "7"
		change["GSMTP_LOG_FILE"] = filepath.Join(d.Dir, key)
		if d.Reload(t, change) {
			t.Errorf("%s: a reload with an address in use succeeded:\n%s", key, d.Log())
		}
		want := fmt.Sprintf(`error="%s: %s: listen on %s: bind: address already in use: another program`, d.ConfigFile(), key, busy.Addr())
		if !strings.Contains(d.Log(), want) {
			t.Errorf("the log lacks %s:\n%s", want, d.Log())
		}
		checkServing(t, d, old)
		checkReleased(t, next)
		if text := get(t, old["GM_METRICS"], "/metrics"); !strings.Contains(text, "\ngoguerrillad_sessions_limit 500\n") || !strings.Contains(text, "_last_reload_successful 0\n") {
			t.Errorf("%s: the metrics lack the old limit or the failed reload:\n%s", key, text)
		}
		if text := read(t, change["GSMTP_LOG_FILE"]); text != "" {
			t.Errorf("the log file of the refused configuration contains\n%s", text)
		}
		old["GM_MAX_CLIENTS"], old["GSMTP_LOG_FILE"] = "500", ""
		if !d.Reload(t, old) {
			t.Errorf("%s: a reload of the old configuration failed:\n%s", key, d.Log())
		}
		if text := get(t, old["GM_METRICS"], "/metrics"); !strings.Contains(text, "_last_reload_successful 1\n") {
			t.Errorf("%s: the metrics lack the successful reload:\n%s", key, text)
		}
	}
	if strings.Contains(d.Log(), "level=ERROR msg=\"cannot serve") || strings.Contains(d.Log(), "cannot stop listening") {
		t.Errorf("errors in the log:\n%s", d.Log())
	}
}
