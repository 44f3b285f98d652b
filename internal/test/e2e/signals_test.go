package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/daemon"
)

// connect opens a session that has said EHLO.
func connect(t *testing.T, d *daemon.Daemon) *client.Client {
	t.Helper()
	c, err := client.Connect(d.Addr, 30*time.Second)
	if err == nil {
		err = c.Hello()
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, d.Log())
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// expect fails the test unless the reply has the code and begins with text.
func expect(t *testing.T, c *client.Client, code int, text, command string) {
	t.Helper()
	r, err := c.Cmd("%s", command)
	if err != nil || r.Code != code || !strings.HasPrefix(r.Text, text) {
		t.Fatalf("%s: want %d %s, got %v, %v", command, code, text, r, err)
	}
}

// send delivers a small mail and returns its hash.
func send(t *testing.T, c *client.Client, to string) string {
	t.Helper()
	r, err := c.Send("sender@example.org", "", []string{to}, []byte("Subject: small\r\n\r\ntext\r\n"))
	if err != nil || r.Code != 250 {
		t.Fatalf("mail to %s: %v, %v", to, r, err)
	}
	return r.Hash()
}

func TestReload(t *testing.T) {
	dir := test.PublicDir(t)
	first, second := test.NewCertificate(t, dir, "first"), test.NewCertificate(t, dir, "second")
	d := newDaemon(t, map[string]string{
		"GM_ALLOWED_HOSTS": "old.example", "GSMTP_PUB_KEY": first.CertFile, "GSMTP_PRV_KEY": first.KeyFile,
	})
	log := filepath.Join(d.Dir, "mail.log")
	d.Configure(t, map[string]string{"GSMTP_LOG_FILE": log})
	d.Start(t)
	table := sqliteTable(t, d)
	checkMode(t, log)

	between := connect(t, d) // in no transaction
	within := connect(t, d)  // in one
	expect(t, within, 250, "2.1.0", "MAIL FROM:<sender@example.org>")
	expect(t, within, 250, "2.1.5", "RCPT TO:<one@old.example>")
	presented(t, d, first)

	if !d.Reload(t, map[string]string{
		"GM_ALLOWED_HOSTS": "new.example", "GSMTP_PUB_KEY": second.CertFile, "GSMTP_PRV_KEY": second.KeyFile,
		"GSMTP_HOST_NAME": "renamed.test", "GSMTP_MAX_SIZE": "100000",
	}) {
		t.Fatalf("reload refused:\n%s", d.Log())
	}
	presented(t, d, second)

	// A transaction goes on as it began; the next one has the new hosts.
	expect(t, within, 250, "2.1.5", "RCPT TO:<two@old.example>")
	expect(t, within, 354, "", "DATA")
	expect(t, within, 250, "2.0.0 OK: queued as ", "Subject: within\r\n\r\ntext\r\n.")
	expect(t, within, 250, "2.1.0", "MAIL FROM:<sender@example.org>")
	expect(t, within, 550, "5.7.1", "RCPT TO:<one@old.example>")
	send(t, between, "one@new.example")
	expect(t, between, 552, "5.3.4", "MAIL FROM:<sender@example.org> SIZE=100001")
	if c := connect(t, d); !strings.HasPrefix(c.Greeting.Text, "renamed.test ") {
		t.Errorf("greeting: %v", c.Greeting)
	}
	if n := table.count(t); n != 3 {
		t.Errorf("%d rows, want 3", n)
	}

	// Of a bad file nothing is taken, not even what is good in it.
	for key, value := range map[string]string{
		"GSMTP_TIMEOUT":          "never",
		"GSMTP_PUB_KEY":          first.CertFile, // not the key's
		"GSMTP_LOG_FILE":         filepath.Join(d.Dir, "no", "such", "directory"),
		"GSTMP_LISTEN_INTERFACE": "192.0.2.1:25", // nobody's
		"NO_SUCH_KEY":            "x",
	} {
		old := d.Keys[key]
		refused := strings.Count(d.Log(), key)
		if d.Reload(t, map[string]string{key: value, "GM_ALLOWED_HOSTS": "bad.example"}) {
			t.Errorf("%s=%s was taken", key, value)
		}
		if strings.Count(d.Log(), key) == refused && strings.Count(d.Log(), value) == 0 {
			t.Errorf("%s=%s is not named in the log:\n%s", key, value, d.Log())
		}
		expect(t, between, 250, "", "RSET")
		send(t, between, "two@new.example")
		d.Configure(t, map[string]string{key: old, "GM_ALLOWED_HOSTS": "new.example"})
		delete(d.Keys, "NO_SUCH_KEY")
	}
	presented(t, d, second)

	// Renamed by logrotate, the log is opened anew; then in another place.
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if !d.Reload(t, nil) {
		t.Fatalf("reload refused:\n%s", d.Log())
	}
	inLog(t, log, send(t, between, "three@new.example"))
	checkMode(t, log)
	other := filepath.Join(d.Dir, "other.log")
	if !d.Reload(t, map[string]string{"GSMTP_LOG_FILE": other}) {
		t.Fatalf("reload refused:\n%s", d.Log())
	}
	inLog(t, other, send(t, between, "four@new.example"))
	checkMode(t, other)
	expect(t, between, 221, "2.0.0", "QUIT")
}

// TestReloadListen moves the daemon to another port; sessions on the old one
// go on.
func TestReloadListen(t *testing.T) {
	d := newDaemon(t, nil)
	d.Start(t)
	c := connect(t, d)
	old := d.Addr
	d.Addr = fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	if !d.Reload(t, map[string]string{"GSTMP_LISTEN_INTERFACE": d.Addr}) {
		t.Fatalf("reload refused:\n%s", d.Log())
	}
	send(t, connect(t, d), "one@example.com")
	send(t, c, "two@example.com")
	if conn, err := net.Dial("tcp", old); err == nil {
		conn.Close()
		t.Errorf("still listens on the old port:\n%s", d.Log())
	}
}

// checkMode looks at the permissions of a log.
func checkMode(t *testing.T, log string) {
	t.Helper()
	info, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o640 {
		t.Errorf("%s has mode %v", log, info.Mode())
	}
}

// inLog looks for a hash in one file.
func inLog(t *testing.T, log, hash string) {
	t.Helper()
	test.Await(t, nil, 10*time.Second, log, func() error {
		text, err := os.ReadFile(log)
		if err == nil && !strings.Contains(string(text), hash) {
			err = fmt.Errorf("does not have %s:\n%s", hash, text)
		}
		return err
	})
}

// presented makes sure that a new session gets this certificate.
func presented(t *testing.T, d *daemon.Daemon, cert *test.Certificate) {
	t.Helper()
	c := connect(t, d)
	defer c.Close()
	if err := c.StartTLS(cert.ClientConfig()); err != nil {
		t.Fatal(err)
	}
	if !c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Equal(cert.Leaf) {
		t.Error("another certificate")
	}
	if err := c.Hello(); err != nil {
		t.Fatal(err)
	}
	expect(t, c, 221, "2.0.0", "QUIT")
}

// TestDrain ends the daemon while clients are in every state.
func TestDrain(t *testing.T) {
	dir := test.PublicDir(t)
	cert := test.NewCertificate(t, dir, "mx")
	d := newDaemon(t, map[string]string{"GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile})
	d.Start(t)
	table := sqliteTable(t, d)

	idle := connect(t, d)
	secure := connect(t, d)
	if err := secure.StartTLS(cert.ClientConfig()); err != nil {
		t.Fatal(err)
	}
	if err := secure.Hello(); err != nil {
		t.Fatal(err)
	}
	writing := connect(t, d)
	expect(t, writing, 250, "2.1.0", "MAIL FROM:<sender@example.org>")
	expect(t, writing, 250, "2.1.5", "RCPT TO:<slow@example.com>")
	expect(t, writing, 354, "", "DATA")
	fmt.Fprintf(writing.Conn, "Subject: slow\r\n\r\nhalf of it\r\n")

	if err := d.Process().Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client.Client{idle, secure} {
		if r, err := c.Reply(); err != nil || r.Code != 421 || !strings.HasPrefix(r.Text, "4.3.2") {
			t.Errorf("idle: %v, %v", r, err)
		}
		if _, err := bufio.NewReader(c.Conn).ReadByte(); err == nil {
			t.Error("not closed behind the 421")
		}
	}
	if c, err := client.Connect(d.Addr, 10*time.Second); err == nil {
		if c.Greeting.Code == 220 {
			t.Error("still accepts")
		}
		c.Close()
	}
	expect(t, writing, 250, "2.0.0 OK: queued as ", "the other half\r\n.")
	if code := d.AwaitExit(); code != 0 {
		t.Errorf("exit status %d\n%s", code, d.Log())
	}
	rows, err := table.to("slow@example.com")
	if err != nil || len(rows) != 1 || !strings.HasSuffix(string(rows[0].mail), "half of it\r\nthe other half\r\n") {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

// TestDrainStalled gives up a text that makes no progress.
func TestDrainStalled(t *testing.T) {
	d := newDaemon(t, nil)
	d.Start(t)
	c := connect(t, d)
	expect(t, c, 250, "2.1.0", "MAIL FROM:<sender@example.org>")
	expect(t, c, 250, "2.1.5", "RCPT TO:<stalled@example.com>")
	expect(t, c, 354, "", "DATA")
	if code := d.Terminate(t); code != 0 {
		t.Errorf("exit status %d\n%s", code, d.Log())
	}
	if r, err := c.Reply(); err != nil || r.Code != 421 {
		t.Errorf("stalled: %v, %v", r, err)
	}
}

// TestReport: SIGUSR1 logs the counters.
func TestReport(t *testing.T) {
	d := newDaemon(t, nil)
	d.Start(t)
	c := connect(t, d)
	for range 3 {
		send(t, c, "one@example.com")
	}
	const line = " msg=counters sessions=1 memory=0 waiting=0 queued=0 connections=2 full=0 full_address=0 proxy_headers=0 accept_errors=0" +
		" messages=3 rows=3 batches=3 recipient_queries=0 recipient_queries_failed=0 recipients_known=0" +
		" unavailable=0 rejected=0 refused=0 unknown=0 tls=0 tls_failed=0 expired=0 store_up=true since="
	test.Await(t, d.Process(), 10*time.Second, "the counters", func() error {
		if err := d.Process().Signal(syscall.SIGUSR1); err != nil {
			return err
		}
		if !strings.Contains(d.Log(), line) {
			return fmt.Errorf("not logged:\n%s", d.Log())
		}
		return nil
	})
}
