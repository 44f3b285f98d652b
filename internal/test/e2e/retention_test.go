package e2e

import (
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// TestRetention: with GM_KEEP_HOURS, the daemon deletes the messages that are older, also
// after a reload, and no other.
func TestRetention(t *testing.T) {
	for _, store := range []string{"sqlite", "mysql", "postgres", "maildir"} {
		t.Run(store, func(t *testing.T) {
			d := newDaemon(t, map[string]string{"GM_SAVE_MAIL": store})
			age, count := prepareAge(t, d, store)
			d.Start(t)
			c := connect(t, d)
			for range 5 {
				send(t, c, "old@example.com")
				send(t, c, "new@example.com")
			}
			age()
			if got := count(); got != 10 {
				t.Fatalf("%d messages are stored, want 10", got)
			}
			if !d.Reload(t, map[string]string{"GM_KEEP_HOURS": "1"}) {
				t.Fatal("reload refused")
			}
			test.Await(t, d.Process(), 30*time.Second, "waiting for the deletion", func() error {
				if got := count(); got != 5 {
					return fmt.Errorf("%d messages are left, want 5", got)
				}
				return nil
			})
			send(t, c, "new@example.com")
			if out, err := d.Cmd("-list", "100").Output(); err != nil || strings.Count(string(out), "<new@example.com>") != 6 || strings.Contains(string(out), "<old@example.com>") {
				t.Errorf("-list: %v\n%s", err, out)
			}
			if status := d.Terminate(t); status != 0 {
				t.Errorf("exit status %d", status)
			}
			if log := d.Log(); strings.Contains(log, "cannot be deleted") {
				t.Errorf("the log has\n%s", log)
			}
		})
	}
}

// prepareAge returns a function that makes the messages to old@example.com two hours old,
// and one that counts all messages.
func prepareAge(t *testing.T, d *daemon.Daemon, store string) (age func(), count func() int) {
	t.Helper()
	switch store {
	case "maildir":
		dir := filepath.Join(d.Dir, "Maildir")
		d.Configure(t, map[string]string{"GM_MAILDIR": dir})
		files := func() []string {
			list, _ := filepath.Glob(dir + "/*/*.goguerrilla,S=*")
			return list
		}
		return func() {
			for _, f := range files() {
				text, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(string(text), "Delivered-To: old@example.com\r\n") {
					_, rest, _ := strings.Cut(filepath.Base(f), ".")
					old := filepath.Join(filepath.Dir(f), fmt.Sprint(time.Now().Add(-2*time.Hour).Unix(), ".", rest))
					if err := os.Rename(f, old); err != nil {
						t.Fatal(err)
					}
				}
			}
		}, func() int { return len(files()) }
	case "postgres":
		p := shared.Postgres()
		name := fmt.Sprintf("mail_%d", test.FreePort(t)) // unique while the test runs
		d.Configure(t, p.Keys())
		d.Configure(t, map[string]string{"GM_MAIL_TABLE": name})
		p.CreateTable(t, name)
		p.GrantDelete(t, name)
		t.Cleanup(func() { p.Exec(t, "DROP TABLE "+name) })
		table := &table{p.Connect(t), name}
		return func() {
			p.Exec(t, "UPDATE "+name+` SET date = date - INTERVAL '2 hours' WHERE "to" = 'old@example.com'`)
		}, func() int { return table.count(t) }
	case "mysql":
		servers.NeedMariaDB(t)
		m := shared.MariaDB()
		name := fmt.Sprintf("mail_%d", test.FreePort(t)) // unique while the test runs
		d.Configure(t, m.Keys())
		d.Configure(t, map[string]string{"GM_MAIL_TABLE": name})
		m.CreateTable(t, name)
		m.GrantDelete(t, name)
		t.Cleanup(func() { m.Exec(t, "DROP TABLE "+m.DB+"."+name) })
		table := &table{m.Connect(t), name}
		return func() {
			m.Exec(t, "UPDATE "+m.DB+"."+name+" SET `date`=`date`-INTERVAL 2 HOUR WHERE `to`='old@example.com'")
		}, func() int { return table.count(t) }
	}
	return func() {
		db, err := sql.Open("sqlite", "file:"+d.Keys["SQLITE_FILE"]+"?_pragma=busy_timeout(10000)")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		_, err = db.Exec(`UPDATE new_mail SET date=datetime(date,'-2 hours') WHERE "to"='old@example.com'`)
		if err != nil {
			t.Fatal(err)
		}
	}, func() int { return sqliteTable(t, d).count(t) }
}

// TestMinFree: with less free space than GM_MIN_FREE, messages get 452, /healthz and auth_http
// refuse, and the status has the reason; with enough space everything works again.
func TestMinFree(t *testing.T) {
	for _, store := range []string{"sqlite", "maildir"} {
		t.Run(store, func(t *testing.T) {
			disk := servers.NewDisk(t, 150)
			metrics, auth := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
			d := newDaemon(t, map[string]string{"GM_SAVE_MAIL": store, "GM_METRICS": metrics, "NGINX_AUTH_ENABLED": "Y", "NGINX_AUTH": auth,
				"SQLITE_FILE": filepath.Join(disk.Dir, "mail.db"), "GM_MAILDIR": filepath.Join(disk.Dir, "Maildir")})
			if store == "sqlite" {
				d.Configure(t, map[string]string{"GM_MAILDIR": ""})
			} else {
				d.Configure(t, map[string]string{"SQLITE_FILE": ""})
			}
			d.Start(t)
			c := connect(t, d)
			send(t, c, "b@example.com")
			begun := connect(t, d)
			expect(t, begun, 250, "2.1.0", "MAIL FROM:<a@example.org>")
			expect(t, begun, 250, "2.1.5", "RCPT TO:<b@example.com>")
			ballast := filepath.Join(disk.Dir, "other")
			if err := os.WriteFile(ballast, make([]byte, 100<<20), 0o644); err != nil {
				t.Fatal(err)
			}
			const reply = "4.3.1 Not enough disk space, try again later"
			test.Await(t, d.Process(), 10*time.Second, "waiting for 452", func() error {
				r, err := c.Cmd("MAIL FROM:<a@example.org>")
				if err == nil && (r.Code != 452 || r.Text != reply) {
					_, err = c.Expect(250, "RSET")
					err = fmt.Errorf("reply %v, %v", r, err)
				}
				return err
			})
			expect(t, begun, 354, "", "DATA")
			if r, err := begun.Cmd("Subject: x\r\n\r\ntext\r\n."); err != nil || r.Code != 452 || r.Text != reply {
				t.Errorf("after the text: %v, %v, want 452", r, err)
			}
			if r, text, err := test.Get(metrics, "/healthz"); err != nil || r.StatusCode != 503 || !strings.Contains(text, "free space below GM_MIN_FREE, replying 452") {
				t.Errorf("/healthz: %v %q, %v", r, text, err)
			}
			if h := requestAuth(t, auth); h.Get("Auth-Error-Code") != "452 4.3.1" || h.Get("Auth-Wait") == "" {
				t.Errorf("auth_http replied %v", h)
			}
			if out, _ := d.Cmd("-t").CombinedOutput(); !strings.Contains(string(out), "too little disk space") {
				t.Errorf("-t: %s", out)
			}
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			d.AwaitLog(t, "enough disk space again", 1)
			send(t, c, "b@example.com")
			if r, _, err := test.Get(metrics, "/healthz"); err != nil || r.StatusCode != 200 {
				t.Errorf("/healthz: %v, %v", r, err)
			}
			if n := strings.Count(d.Log(), "too little disk space, replying 452"); n != 1 {
				t.Errorf("the log has the outage %d times, want once", n)
			}
		})
	}
}

// requestAuth asks auth_http for a server, as nginx does.
func requestAuth(t *testing.T, address string) http.Header {
	t.Helper()
	q, err := http.NewRequest("GET", "http://"+address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Auth-Method", "none")
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	return r.Header
}

// TestPartitions: with the statements of docs/operating.md, a table is divided by day, and its
// old partitions are dropped while the daemon stores messages.
func TestPartitions(t *testing.T) {
	d, stored := startDaemon(t, "mysql", nil)
	page := test.ReadPage(t, "operating.md")
	run := func(title string, days int) { // as if that many days had passed
		t.Helper()
		conn, err := stored.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		block := fmt.Sprintf("SET timestamp=UNIX_TIMESTAMP(NOW()+INTERVAL %d DAY);\n", days) + page.Block(t, title, "new_mail", stored.name) + "SET timestamp=DEFAULT"
		for statement := range strings.SplitSeq(block, ";\n") {
			if _, err := conn.ExecContext(t.Context(), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
	}
	c := connect(t, d)
	send(t, c, "before@example.com")
	run("sql partition", 0)
	send(t, c, "today@example.com")
	if _, err := stored.db.Exec("INSERT INTO " + stored.name + " SELECT NULL,`date`-INTERVAL 9 DAY,`from`,'old@example.com',subject,body,charset,mail,spam_score,MD5(hash)," +
		"content_type,recipient,has_attach,ip_addr,delivered,attach_info,dkim_valid FROM " + stored.name); err != nil {
		t.Fatal(err)
	}
	for day := -10; day <= 0; day++ {
		run("sql daily", day)
	}
	send(t, c, "after@example.com")
	if got := stored.count(t); got != 3 {
		t.Errorf("%d rows, want 3", got)
	}
}
