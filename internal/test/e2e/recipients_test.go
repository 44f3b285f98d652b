package e2e

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
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

// A queryDaemon is a daemon with GM_RECIPIENT_QUERY. The configuration and the tables
// are those of recipients.md.
type queryDaemon struct {
	*daemon.Daemon
	db     *sql.DB
	server *servers.MariaDBServer // nil with SQLite and PostgreSQL
}

// newQueryDaemon creates the tables and the daemon of a block. The daemon is not started.
func newQueryDaemon(t *testing.T, block string) *queryDaemon {
	t.Helper()
	page := test.ReadPage(t, "recipients.md")
	var keys map[string]string
	if err := json.Unmarshal([]byte(page.Block(t, "json "+block)), &keys); err != nil {
		t.Fatal(err)
	}
	a := &queryDaemon{}
	if block == "mysql" {
		a.server = servers.MariaDB(t)
		a.db = a.server.Connect(t)
		a.server.CreateTable(t, "new_mail")
		maps.Copy(keys, a.server.Keys())
	}
	if block == "postgres" {
		p := servers.Postgres(t)
		a.db = p.Connect(t)
		p.CreateTable(t, "new_mail")
		maps.Copy(keys, p.Keys())
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
	if block == "domains" {
		a.Chown(t, filepath.Join(a.Dir, "mail.db"))
	}
	if a.server != nil {
		a.server.Exec(t, "GRANT SELECT ON mail.mailbox TO `"+a.server.User+"`@`%`") // as the page instructs
	}
	return a
}

// recipientCodes sends RCPT for each address and returns the codes of the replies.
func recipientCodes(t *testing.T, c *client.Client, addresses ...string) string {
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

// TestRecipientsPage runs the configurations of recipients.md.
func TestRecipientsPage(t *testing.T) {
	for _, tt := range []struct{ block, addresses, codes string }{
		{"mysql", "alice@example.com bob@example.com Alice@EXAMPLE.com postmaster@example.com alice@example.net", "250 550 250 250 550"},
		{"postgres", "alice@example.com bob@example.com Alice@EXAMPLE.com postmaster@example.com alice@example.net", "250 550 250 250 550"},
		{"domains", "anybody@Example.NET. alice@example.com ALICE@example.com bob@example.com alice@elsewhere.example", "250 250 250 550 550"},
	} {
		t.Run(tt.block, func(t *testing.T) {
			a := newQueryDaemon(t, tt.block)
			if out, err := a.Cmd("-t").CombinedOutput(); err != nil || strings.Contains(string(out), "not checked") {
				t.Errorf("-t: %v, %s", err, out)
			}
			a.Start(t)
			c := connect(t, a.Daemon)
			if got := recipientCodes(t, c, strings.Fields(tt.addresses)...); got != tt.codes {
				t.Errorf("RCPT for %s: %s, want %s", tt.addresses, got, tt.codes)
			}
			if r, err := c.Expect(550, "RCPT TO:<nobody@%s>", "example.com"); err != nil || !strings.HasPrefix(r.Text, "5.1.1 ") {
				t.Errorf("RCPT for nobody: %v, %v, want 550 5.1.1", r, err)
			}
			if _, err := c.Expect(250, "RSET"); err != nil {
				t.Fatal(err)
			}
			send(t, c, "alice@example.com")
			// A reload empties the cache of answers.
			if _, err := a.db.Exec("DELETE FROM mailbox WHERE address='alice@example.com'"); err != nil {
				t.Fatal(err)
			}
			if !a.Reload(t, nil) {
				t.Fatalf("reload refused:\n%s", a.Log())
			}
			if got := recipientCodes(t, c, "alice@example.com"); got != "550" {
				t.Errorf("deleted recipient after the reload: %s, want 550", got)
			}
		})
	}
}

// TestRecipientQueryRefused: -t refuses a query that the database cannot prepare. An
// unavailable database is not an error.
func TestRecipientQueryRefused(t *testing.T) {
	for _, block := range []string{"mysql", "domains"} {
		t.Run(block, func(t *testing.T) {
			a := newQueryDaemon(t, block)
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
				"SELECT 1; DELETE FROM mailbox":                  "after the semicolon",
			} {
				if code, out := try(query); code != 78 || !strings.Contains(out, "GM_RECIPIENT_QUERY") || !strings.Contains(out, want) {
					t.Errorf("%s: exit status %d, %s, want 78 and %s", query, code, out, want)
				}
			}
			if code, out := try("SELECT 1 FROM mailbox WHERE address = :address"); code != 0 || strings.Contains(out, "not checked") {
				t.Errorf("valid query: exit status %d, %s", code, out)
			}
			if a.server != nil {
				a.server.Kill()
			} else {
				a.Configure(t, map[string]string{"SQLITE_FILE": filepath.Join(a.Dir, "later.db")})
			}
			if code, out := try("SELECT 1 FROM mailbox WHERE address = :address"); code != 0 || !strings.Contains(out, "not checked") {
				t.Errorf("database unavailable: exit status %d, %s", code, out)
			}
		})
	}
}

// TestRecipientQueryCount: RCPT commands of several clients for the same unknown
// recipients cause one query per recipient.
func TestRecipientQueryCount(t *testing.T) {
	a := newQueryDaemon(t, "mysql")
	a.Start(t)
	status := func(name string) (n int) {
		t.Helper()
		if err := a.db.QueryRow("SHOW GLOBAL STATUS LIKE '"+name+"'").Scan(&name, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	send(t, connect(t, a.Daemon), "alice@example.com")
	const clients, rounds, recipients = 8, 3, 200 // the same recipients in each round
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
				for n := range recipients {
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
	// The daemon executes a few other statements.
	if n := status("Com_stmt_execute") - before; n < recipients || n > recipients+10 {
		t.Errorf("%d queries for %d recipients", n, recipients)
	}
}

// TestRecipientsWithoutDatabase: without the database the cached answers stay valid, and
// RCPT for other recipients receives 451. Saving does not wait for a query that hangs.
func TestRecipientsWithoutDatabase(t *testing.T) {
	a := newQueryDaemon(t, "mysql")
	a.Start(t)
	c := connect(t, a.Daemon)
	known := []string{"alice@example.com", "nobody@example.com", "postmaster@example.com"}
	if got := recipientCodes(t, c, known...); got != "250 550 250" {
		t.Fatalf("RCPT: %s, want 250 550 250", got)
	}
	lock, err := a.db.Conn(t.Context())
	if err == nil {
		_, err = lock.ExecContext(t.Context(), "LOCK TABLES mailbox WRITE")
	}
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for i := range 20 { // more queries than connections
		wait.Go(func() {
			c := connect(t, a.Daemon)
			if got := recipientCodes(t, c, fmt.Sprintf("hung-%d@example.com", i)); got != "451" {
				t.Errorf("RCPT while the query hangs: %s, want 451", got)
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
	test.Await(t, a.Process(), 30*time.Second, "waiting for the recipient query", func() error {
		if got := recipientCodes(t, c, "bob@example.com"); got != "550" {
			return fmt.Errorf("RCPT: %s, want 550", got)
		}
		return nil
	})
	a.server.Kill()
	if got := recipientCodes(t, c, append(known, "carol@example.com")...); got != "250 550 250 451" {
		t.Errorf("without the database: %s, want 250 550 250 451", got)
	}
	a.server.Start(t)
	test.Await(t, a.Process(), 30*time.Second, "waiting for the recipient query", func() error {
		if got := recipientCodes(t, c, "carol@example.com"); got != "550" {
			return fmt.Errorf("RCPT: %s, want 550", got)
		}
		return nil
	})
	if log := a.Log(); strings.Count(log, "GM_RECIPIENT_QUERY failed, replying 451") != 1 {
		t.Errorf("want one failure of the query in the log:\n%s", log)
	}
}

// TestRecipientsOfOtherStores: with a webhook or a Maildir, the query runs on a database of
// its own, which it does not change. A wrong recipient is refused alone.
func TestRecipientsOfOtherStores(t *testing.T) {
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	defer receiver.Close()
	for _, block := range []string{"mysql", "domains"} {
		for _, store := range []map[string]string{
			{"GM_SAVE_MAIL": "webhook", "WEBHOOK_URL": receiver.URL, "WEBHOOK_SECRET": "s"},
			{"GM_SAVE_MAIL": "maildir"},
			{"GM_SAVE_MAIL": "discard"},
		} {
			t.Run(block+" with "+store["GM_SAVE_MAIL"], func(t *testing.T) {
				a := newQueryDaemon(t, block)
				a.Configure(t, store)
				a.Configure(t, map[string]string{"GM_MAILDIR": filepath.Join(a.Dir, "Maildir"), "GM_RECIPIENT_CACHE_SECONDS": "0"})
				tables := a.tables(t)
				if out, err := a.Cmd("-t").CombinedOutput(); err != nil {
					t.Errorf("-t: %v\n%s", err, out)
				}
				a.Start(t)
				c := connect(t, a.Daemon)
				if got := recipientCodes(t, c, "wrong@example.com", "alice@example.com"); got != "550 250" {
					t.Errorf("RCPT: %s, want 550 250\n%s", got, a.Log())
				}
				if _, err := c.Expect(250, "RSET"); err != nil {
					t.Fatal(err)
				}
				send(t, c, "alice@example.com")
				if !a.Reload(t, map[string]string{"GM_RECIPIENT_QUERY": ""}) {
					t.Fatalf("reload refused:\n%s", a.Log())
				}
				if got := recipientCodes(t, c, "wrong@example.com"); block == "mysql" && got != "250" {
					t.Errorf("without a query: %s, want 250", got)
				}
				if got := a.tables(t); got != tables {
					t.Errorf("tables %s, before %s", got, tables)
				}
			})
		}
	}
}

// tables returns the names of the tables in the database.
func (a *queryDaemon) tables(t *testing.T) (names string) {
	t.Helper()
	query := "SELECT group_concat(name) FROM sqlite_schema"
	if a.server != nil {
		query = "SELECT GROUP_CONCAT(TABLE_NAME ORDER BY TABLE_NAME) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
	}
	if err := a.db.QueryRow(query).Scan(&names); err != nil {
		t.Fatal(err)
	}
	return names
}
