package e2e

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// asking is a daemon that asks about recipients, by the page's configuration
// and tables.
type asking struct {
	*daemon.Daemon
	db     *sql.DB
	server *servers.MariaDBServer // nil with SQLite
}

func startAsking(t *testing.T, block string) *asking {
	t.Helper()
	page := test.ReadPage(t, "recipients.md")
	var keys map[string]string
	if err := json.Unmarshal([]byte(page.Block(t, "json "+block)), &keys); err != nil {
		t.Fatal(err)
	}
	a := &asking{}
	if block == "mysql" {
		a.server = servers.MariaDB(t)
		a.db = a.server.Connect(t)
		a.server.CreateTable(t, "new_mail")
		maps.Copy(keys, a.server.Keys())
	}
	a.Daemon = newDaemon(t, keys)
	if a.db == nil {
		file := filepath.Join(a.Dir, "mail.db")
		a.Configure(t, map[string]string{"SQLITE_FILE": file})
		var err error
		if a.db, err = sql.Open("sqlite", file); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.db.Close() })
	}
	for statement := range strings.SplitSeq(strings.TrimSpace(page.Block(t, "sql "+block)), ";\n") {
		if _, err := a.db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if a.server != nil {
		a.server.Exec(t, "GRANT SELECT ON mail.mailbox TO `"+a.server.User+"`@`%`") // as the page says
	} else {
		a.Own(t, filepath.Join(a.Dir, "mail.db"))
	}
	return a
}

// codes says RCPT for each address, and returns the codes.
func codes(t *testing.T, c *client.Client, addresses ...string) string {
	t.Helper()
	if _, err := c.Expect(250, "RSET"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Expect(250, "MAIL FROM:<a@example.org>"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range addresses {
		r, err := c.Cmd("RCPT TO:<%s>", a)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strconv.Itoa(r.Code))
	}
	return strings.Join(got, " ")
}

// TestRecipientsPage has the daemons of the page decide.
func TestRecipientsPage(t *testing.T) {
	for _, tt := range []struct{ block, addresses, codes string }{
		{"mysql", "alice@example.com bob@example.com Alice@EXAMPLE.com postmaster@example.com alice@example.net", "250 550 250 250 550"},
		{"domains", "anybody@Example.NET. alice@example.com ALICE@example.com bob@example.com alice@elsewhere.example", "250 250 250 550 550"},
	} {
		t.Run(tt.block, func(t *testing.T) {
			a := startAsking(t, tt.block)
			if out, err := a.Cmd("-t").CombinedOutput(); err != nil || strings.Contains(string(out), "not tried") {
				t.Errorf("-t: %v, %s", err, out)
			}
			a.Start(t)
			c := connect(t, a.Daemon)
			if got := codes(t, c, strings.Fields(tt.addresses)...); got != tt.codes {
				t.Errorf("%s: %s, want %s", tt.addresses, got, tt.codes)
			}
			if r, err := c.Expect(550, "RCPT TO:<nobody@%s>", "example.com"); err != nil || !strings.HasPrefix(r.Text, "5.1.1 ") {
				t.Errorf("%v, %v", r, err)
			}
			if _, err := c.Expect(250, "RSET"); err != nil {
				t.Fatal(err)
			}
			send(t, c, "alice@example.com")
			// A new answer is heard after a reload at the latest.
			if _, err := a.db.Exec("DELETE FROM mailbox WHERE address='alice@example.com'"); err != nil {
				t.Fatal(err)
			}
			if !a.Reload(t, nil) {
				t.Fatal(a.Log())
			}
			if got := codes(t, c, "alice@example.com"); got != "550" {
				t.Errorf("after the reload: %s", got)
			}
		})
	}
}

// TestRecipientQueryRefused: -t tells of what the database does not
// understand, and of a database that is away, which is no fault.
func TestRecipientQueryRefused(t *testing.T) {
	for _, block := range []string{"mysql", "domains"} {
		t.Run(block, func(t *testing.T) {
			a := startAsking(t, block)
			try := func(query string) (int, string) {
				t.Helper()
				a.Configure(t, map[string]string{"GM_RECIPIENT_QUERY": query})
				cmd := a.Cmd("-t")
				out, _ := cmd.CombinedOutput()
				return cmd.ProcessState.ExitCode(), string(out)
			}
			for query, want := range map[string]string{
				"SELECT 1 FROM missing WHERE a = :address":       "missing",
				"SELECT wrong FROM mailbox WHERE a = :address":   "wrong",
				"SELEKT 1 FROM mailbox WHERE address = :address": "SELEKT",
				"SELECT 1 FROM mailbox WHERE address = :name":    ":name",
				"SELECT 1; DELETE FROM mailbox":                  "behind its ;",
			} {
				if code, out := try(query); code != 78 || !strings.Contains(out, "GM_RECIPIENT_QUERY") || !strings.Contains(out, want) {
					t.Errorf("%s: %d, %s", query, code, out)
				}
			}
			if code, out := try("SELECT 1 FROM mailbox WHERE address = :address"); code != 0 || strings.Contains(out, "not tried") {
				t.Errorf("good: %d, %s", code, out)
			}
			if a.server != nil {
				a.server.Kill()
			} else {
				a.Configure(t, map[string]string{"SQLITE_FILE": filepath.Join(a.Dir, "later.db")})
			}
			if code, out := try("SELECT 1 FROM mailbox WHERE address = :address"); code != 0 || !strings.Contains(out, "not tried") {
				t.Errorf("away: %d, %s", code, out)
			}
		})
	}
}

// TestRecipientsCost: thousands of RCPT for unknown names cost one query for
// each name.
func TestRecipientsCost(t *testing.T) {
	a := startAsking(t, "mysql")
	a.Start(t)
	status := func(name string) (n int) {
		t.Helper()
		if err := a.db.QueryRow("SHOW GLOBAL STATUS LIKE '"+name+"'").Scan(&name, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	send(t, connect(t, a.Daemon), "alice@example.com")
	const clients, rounds, names = 8, 3, 200 // names of each round, the same for all clients
	before := status("Com_stmt_execute")
	var wait sync.WaitGroup
	for range clients {
		wait.Go(func() {
			for range rounds {
				c, err := client.Connect(a.Addr, time.Minute)
				if err == nil {
					err = c.Hello()
				}
				if err == nil {
					_, err = c.Expect(250, "MAIL FROM:<a@example.org>")
				}
				for n := range names {
					if err == nil {
						_, err = c.Expect(550, "RCPT TO:<unknown-%d@example.com>", n)
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
				c.Close()
			}
		})
	}
	wait.Wait()
	// The daemon has a few statements of its own.
	if n := status("Com_stmt_execute") - before; n < names || n > names+10 {
		t.Errorf("%d queries for %d names", n, names)
	}
}

// TestRecipientsWithoutDatabase: who is known stays known, nobody else is
// decided on, and nothing that is stored waits for a query that hangs.
func TestRecipientsWithoutDatabase(t *testing.T) {
	a := startAsking(t, "mysql")
	a.Start(t)
	c := connect(t, a.Daemon)
	known := []string{"alice@example.com", "nobody@example.com", "postmaster@example.com"}
	if got := codes(t, c, known...); got != "250 550 250" {
		t.Fatal(got)
	}
	lock, err := a.db.Conn(t.Context())
	if err == nil {
		_, err = lock.ExecContext(t.Context(), "LOCK TABLES mailbox WRITE")
	}
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for i := range 20 { // more than there are connections for
		wait.Go(func() {
			c := connect(t, a.Daemon)
			if got := codes(t, c, fmt.Sprintf("hung-%d@example.com", i)); got != "451" {
				t.Errorf("a query that hangs: %s", got)
			}
		})
	}
	if _, err := c.Expect(250, "RSET"); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		send(t, c, "alice@example.com")
	}
	wait.Wait()
	if _, err := lock.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
		t.Fatal(err)
	}
	test.Await(t, a.Process(), 30*time.Second, "asked again", func() error {
		if got := codes(t, c, "bob@example.com"); got != "550" {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
	a.server.Kill()
	if got := codes(t, c, append(known, "carol@example.com")...); got != "250 550 250 451" {
		t.Errorf("without the database: %s", got)
	}
	a.server.Start(t)
	test.Await(t, a.Process(), 30*time.Second, "asked again", func() error {
		if got := codes(t, c, "carol@example.com"); got != "550" {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
	if log := a.Log(); strings.Count(log, "GM_RECIPIENT_QUERY failed") != 1 {
		t.Errorf("the log says:\n%s", log)
	}
}
