package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/servers"
)

// TestStates: without a message, the status page and /healthz show that the database has
// stopped and that it is available again. They also show a certificate that ends soon, and
// the client limit.
func TestStates(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	d := newDaemon(t, map[string]string{"GM_METRICS": addr}) // first, since it may skip the test
	db := servers.MariaDB(t)
	db.CreateTable2012(t, "new_mail")
	cert := test.NewCertificateUntil(t, d.Dir, "mail", time.Now().Add(5*24*time.Hour+time.Hour))
	d.Configure(t, db.Keys())
	d.Configure(t, map[string]string{"GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile})
	d.Start(t)

	await := func(title, inPage string, status int, reason string) {
		t.Helper()
		test.Await(t, d.Process(), time.Minute, "waiting for "+title, func() error {
			_, page, err := test.Get(addr, "/")
			if err != nil {
				return err
			}
			r, health, err := test.Get(addr, "/healthz")
			if err != nil {
				return err
			}
			if !strings.Contains(page, "<h1>"+title+"</h1>") || !strings.Contains(page, inPage) || r.StatusCode != status || !strings.HasPrefix(health, reason) {
				return fmt.Errorf("/healthz: %d %s\n%s", r.StatusCode, health, page[strings.Index(page, "<header"):][:500])
			}
			return nil
		})
	}
	await("Accepting messages", "<li>The certificate of mail (ECDSA) ends in 5 days.</li>", 200, "ok\n")
	if err := db.Stop(); err != nil {
		t.Fatal(err)
	}
	await("Messages wait", "<p>Store unavailable since ", 503, "store unavailable since ")
	await("Not accepting messages", "<dd>mysql, unavailable</dd>", 503, "store unavailable since ")
	db.Start(t)
	await("Accepting messages", "<dd>mysql, available</dd>", 200, "ok\n")

	if !d.Reload(t, map[string]string{"GM_MAX_CLIENTS": "1"}) {
		t.Fatalf("reload refused:\n%s", d.Log())
	}
	c, err := client.Connect(d.Addr, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	await("Refusing connections", "<p>Client limit reached</p>", 503, "client limit reached\n")
}

// TestNoStandby: without a message, /healthz and the status for systemd report that no
// synchronous standby is connected, and that one is connected again. Meanwhile the daemon
// stores no message.
func TestNoStandby(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	d := newDaemon(t, map[string]string{"GM_METRICS": addr, "GSMTP_TIMEOUT": "30"}) // first, since it may skip the test
	r := servers.PostgresPair(t, true)
	r.Primary.CreateTable(t, "new_mail")
	d.Configure(t, r.Primary.Keys())
	m := startManager(t, d)
	d.Start(t)
	await := func(status int, reason string) {
		t.Helper()
		test.Await(t, d.Process(), time.Minute, "waiting for "+reason, func() error {
			r, health, err := test.Get(addr, "/healthz")
			if err == nil && (r.StatusCode != status || !strings.Contains(health, reason)) {
				err = fmt.Errorf("/healthz: %d %s", r.StatusCode, health)
			}
			return err
		})
	}
	await(200, "ok")
	c := connect(t, d)
	send(t, c, "before@example.com")
	c.Close()
	if err := r.Standby.Stop(); err != nil {
		t.Fatal(err)
	}
	const reason = "no synchronous standby confirms commits: synchronous_standby_names is standby"
	await(503, ", replying 451: "+reason)
	m.await(t, `STATUS=.*store down since .* UTC, messages wait: `+reason)
	c = connect(t, d)
	defer c.Close()
	if r, err := c.Send("a@example.org", "", []string{"refused@example.com"}, []byte("x\r\n")); err != nil || r.Code != 451 {
		t.Errorf("reply %v, %v, want 451", r, err)
	}
	if !strings.Contains(r.Primary.Output(), "canceling wait for synchronous replication") {
		t.Error("a check that has failed keeps its session waiting")
	}
	r.Standby.Start(t)
	await(200, "ok")
	after := connect(t, d)
	defer after.Close()
	send(t, after, "after@example.com")
	var rows string
	r.Primary.QueryRow(t, "SELECT string_agg(recipient, ' ' ORDER BY mail_id) FROM new_mail", &rows)
	if rows != "before@example.com after@example.com" {
		t.Errorf("the table has messages to %s", rows)
	}
}
