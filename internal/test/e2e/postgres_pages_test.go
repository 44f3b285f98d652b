package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
)

// TestPostgresHosts: with the configuration of cluster.md, the daemon uses the host that
// accepts writes.
func TestPostgresHosts(t *testing.T) {
	p := servers.Postgres(t)
	p.CreateTable(t, "new_mail")
	standby := servers.Postgres(t)
	standby.Set(t, "default_transaction_read_only=on") // it refuses writes, as a standby does
	block := test.ReadPage(t, "cluster.md").Block(t, "json postgres",
		"goguerrilla:secret", url.UserPassword(p.User, p.Pass).String(),
		"192.0.2.11", fmt.Sprintf("127.0.0.1:%d", test.FreePort(t)), "192.0.2.12", standby.Addr, "192.0.2.13", p.Addr, "sslmode=require", "sslmode=disable")
	keys := map[string]string{}
	if err := json.Unmarshal([]byte(block), &keys); err != nil {
		t.Fatal(err)
	}
	d := newChecked(t, keys)
	d.Configure(t, map[string]string{"GM_SAVE_MAIL": "", "GM_MAX_CLIENTS_PER_IP": "50"})
	wantCheck(t, d, nil, 0, good)
	d.Start(t)
	send(t, connect(t, d), "b@example.com")
	if n := (&table{p.Connect(t), "new_mail"}).count(t); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

// TestPostgresPartitions: with the statements of operating.md, a table is divided by day, and
// its old partitions are dropped while the daemon stores messages.
func TestPostgresPartitions(t *testing.T) {
	p := servers.Postgres(t)
	page := test.ReadPage(t, "operating.md")
	p.Exec(t, page.Block(t, "sql postgres-partition"))
	d := newDaemon(t, p.Keys())
	d.Start(t)
	run := func(days int) { // as if that many days had passed
		t.Helper()
		p.Exec(t, page.Block(t, "sql postgres-daily", "current_date", fmt.Sprintf("(current_date + %d)", days)))
	}
	for day := -10; day < 0; day++ {
		run(day) // the last one creates the partition of today
	}
	c := connect(t, d)
	send(t, c, "today@example.com")
	stored := &table{p.Connect(t), "new_mail"}
	columns := `"from", "to", subject, body, charset, mail, spam_score, hash, content_type, recipient, has_attach, ip_addr, attach_info`
	for _, age := range []string{"7 days", "8 days"} {
		p.Exec(t, "INSERT INTO new_mail (date, "+columns+") SELECT date - INTERVAL '"+age+"', "+columns+` FROM new_mail WHERE date > current_date`)
	}
	run(0)
	send(t, c, "after@example.com")
	var rest int
	p.QueryRow(t, "SELECT count(*) FROM new_mail_rest", &rest)
	if got := stored.count(t); got != 3 || rest != 0 {
		t.Errorf("%d rows and %d without a partition of their day, want 3 and 0", got, rest)
	}
	if out, err := d.Cmd("-list", "5").Output(); err != nil || strings.Count(string(out), "\n") != 3 {
		t.Errorf("-list: %v\n%s", err, out)
	}
}
