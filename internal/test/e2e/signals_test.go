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

// TestReload: a reload changes the hosts, the certificate and the log file. A reload of
// a file with an error changes nothing.
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

	between := connect(t, d) // outside a transaction
	within := connect(t, d)  // inside a transaction
	expect(t, within, 250, "2.1.0", "MAIL FROM:<sender@example.org>")
	expect(t, within, 250, "2.1.5", "RCPT TO:<one@old.example>")
	expectCertificate(t, d, first)

	if !d.Reload(t, map[string]string{
		"GM_ALLOWED_HOSTS": "new.example", "GSMTP_PUB_KEY": second.CertFile, "GSMTP_PRV_KEY": second.KeyFile,
		"GSMTP_HOST_NAME": "renamed.test", "GSMTP_MAX_SIZE": "100000",
	}) {
		t.Fatalf("reload refused:\n%s", d.Log())
	}
	expectCertificate(t, d, second)

	// A transaction keeps its settings. The next transaction has the new hosts.
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

	// If the file has an error, a reload applies none of its keys.
	for key, value := range map[string]string{
		"GSMTP_TIMEOUT":          "never",
		"GSMTP_PUB_KEY":          first.CertFile, // does not match the key
		"GSMTP_LOG_FILE":         filepath.Join(d.Dir, "no", "such", "directory"),
		"GSTMP_LISTEN_INTERFACE": "192.0.2.1:25", // not an address of this machine
		"NO_SUCH_KEY":            "x",
	} {
		old := d.Keys[key]
		refused := strings.Count(d.Log(), key)
		if d.Reload(t, map[string]string{key: value, "GM_ALLOWED_HOSTS": "bad.example"}) {
			t.Errorf("reload with %s=%s was not refused", key, value)
		}
		if strings.Count(d.Log(), key) == refused && strings.Count(d.Log(), value) == 0 {
			t.Errorf("the log does not name %s=%s:\n%s", key, value, d.Log())
		}
		expect(t, between, 250, "", "RSET")
		send(t, between, "two@new.example")
		d.Configure(t, map[string]string{key: old, "GM_ALLOWED_HOSTS": "new.example"})
		delete(d.Keys, "NO_SUCH_KEY")
	}
	expectCertificate(t, d, second)

	// A reload opens the log again after logrotate has renamed it, and opens another file
	// if the key has changed.
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if !d.Reload(t, nil) {
		t.Fatalf("reload refused:\n%s", d.Log())
	}
	awaitHash(t, log, send(t, between, "three@new.example"))
	checkMode(t, log)
	other := filepath.Join(d.Dir, "other.log")
	if !d.Reload(t, map[string]string{"GSMTP_LOG_FILE": other}) {
		t.Fatalf("reload refused:\n%s", d.Log())
	}
	awaitHash(t, other, send(t, between, "four@new.example"))
	checkMode(t, other)
	expect(t, between, 221, "2.0.0", "QUIT")
}

// TestReloadListen changes the port at a reload. Sessions of the old port continue.
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
		t.Errorf("the daemon still listens on the old port:\n%s", d.Log())
	}
}

// checkMode checks the permissions of a log file.
func checkMode(t *testing.T, log string) {
	t.Helper()
	info, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o640 {
		t.Errorf("%s has mode %v, want 0640", log, info.Mode())
	}
}

// awaitHash waits until a log file contains a hash.
func awaitHash(t *testing.T, log, hash string) {
	t.Helper()
	test.Await(t, nil, 10*time.Second, "reading "+log, func() error {
		text, err := os.ReadFile(log)
		if err == nil && !strings.Contains(string(text), hash) {
			err = fmt.Errorf("the log does not contain %s:\n%s", hash, text)
		}
		return err
	})
}

// expectCertificate checks that a new session presents a certificate.
func expectCertificate(t *testing.T, d *daemon.Daemon, cert *test.Certificate) {
	t.Helper()
	c := connect(t, d)
	defer c.Close()
	startTLS(t, c, cert)
	if !c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Equal(cert.Leaf) {
		t.Error("the session presents another certificate")
	}
	expect(t, c, 221, "2.0.0", "QUIT")
}

// TestDrain stops the daemon while it has an idle session, an idle session inside TLS,
// and a session in the middle of a text.
func TestDrain(t *testing.T) {
	dir := test.PublicDir(t)
	cert := test.NewCertificate(t, dir, "mx")
	d := newDaemon(t, map[string]string{"GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile})
	d.Start(t)
	table := sqliteTable(t, d)

	idle := connect(t, d)
	secure := connect(t, d)
	startTLS(t, secure, cert)
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
			t.Errorf("idle session: reply %v, %v, want 421 4.3.2", r, err)
		}
		if _, err := bufio.NewReader(c.Conn).ReadByte(); err == nil {
			t.Error("idle session: not closed after 421")
		}
	}
	if c, err := client.Connect(d.Addr, 10*time.Second); err == nil {
		if c.Greeting.Code == 220 {
			t.Error("the stopping daemon accepts a session")
		}
		c.Close()
	}
	expect(t, writing, 250, "2.0.0 OK: queued as ", "the other half\r\n.")
	if code := d.AwaitExit(); code != 0 {
		t.Errorf("exit status %d\n%s", code, d.Log())
	}
	rows, err := table.to("slow@example.com")
	if err != nil || len(rows) != 1 || !strings.HasSuffix(string(rows[0].mail), "half of it\r\nthe other half\r\n") {
		t.Errorf("%d rows, want 1 with the whole text: %v", len(rows), err)
	}
}

// TestDrainStalled: a stop closes a session whose text makes no progress.
func TestDrainStalled(t *testing.T) {
	d := newDaemon(t, nil)
	d.Start(t)
	c := stalledClient(t, d)
	if code := d.Terminate(t); code != 0 {
		t.Errorf("exit status %d\n%s", code, d.Log())
	}
	if r, err := c.Reply(); err != nil || r.Code != 421 {
		t.Errorf("stalled session: reply %v, %v, want 421", r, err)
	}
}

// TestCounters: SIGUSR1 logs the counters.
func TestCounters(t *testing.T) {
	d := newDaemon(t, nil)
	d.Start(t)
	c := connect(t, d)
	for range 3 {
		send(t, c, "one@example.com")
	}
	const line = " msg=counters sessions=1 memory=0 waiting=0 queued=0 connections=2 full=0 full_address=0 proxy_headers=0 accept_errors=0" +
		" messages=3 rows=3 batches=3 recipient_queries=0 recipient_queries_failed=0 recipients_known=0" +
		" unavailable=0 rejected=0 refused=0 unknown=0 no_space=0 rows_deleted=0 tls=0 tls_failed=0 expired=0 store_up=true since="
	test.Await(t, d.Process(), 10*time.Second, "waiting for the counters", func() error {
		if err := d.Process().Signal(syscall.SIGUSR1); err != nil {
			return err
		}
		if !strings.Contains(d.Log(), line) {
			return fmt.Errorf("not logged:\n%s", d.Log())
		}
		return nil
	})
}
