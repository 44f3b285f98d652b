package e2e

import (
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// newChecked returns a daemon whose configuration has no warnings.
func newChecked(t *testing.T, keys map[string]string) *daemon.Daemon {
	t.Helper()
	d := newDaemon(t, sensible)
	d.Configure(t, map[string]string{"SQLITE_FILE": ""})
	d.Configure(t, keys)
	if err := os.Chmod(d.ConfigFile(), 0o640); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestCheckRights: -t prints the statement that grants the missing rights, and the start
// logs the same error.
func TestCheckRights(t *testing.T) {
	m := servers.MariaDB(t, "--max-allowed-packet=64M")
	m.CreateTable(t, "new_mail")
	m.CreateTable(t, "other")
	d := newChecked(t, m.Keys())
	account := "`" + m.User + "`@`%`"
	grant := "want GRANT SELECT, INSERT ON `" + m.DB + "`.`new_mail` TO " + account
	m.Exec(t, "REVOKE INSERT ON "+m.DB+".new_mail FROM "+account)
	wantCheck(t, d, nil, 78, "INSERT command denied", grant+"\n")
	m.Exec(t, "REVOKE SELECT ON "+m.DB+".new_mail FROM "+account)
	wantCheck(t, d, nil, 78, "the table does not exist, or the user has no rights on it: ", grant+"\n")
	d.Start(t)
	d.AwaitLog(t, grant, 1)
	m.Exec(t, strings.TrimPrefix(grant, "want "))
	wantCheck(t, d, nil, 0, good)
	m.Exec(t, "CREATE USER locked@`%` IDENTIFIED BY 'wr0ng' ACCOUNT LOCK")
	wantCheck(t, d, map[string]string{"MYSQL_USER": "locked", "MYSQL_PASS": "wr0ng"}, 78, "account is locked")
	wantCheck(t, d, map[string]string{"MYSQL_USER": m.User, "MYSQL_PASS": m.Pass, "MYSQL_TLS": "Y"}, 78, "TLS")
}

// TestCheckPostgres: -t logs in to PostgreSQL, and finds a wrong password, database, table,
// column and right, with the statement that grants it, and unsafe settings.
func TestCheckPostgres(t *testing.T) {
	p := servers.Postgres(t)
	p.CreateTable(t, "new_mail")
	d := newChecked(t, p.Keys())
	wantCheck(t, d, nil, 0, good)
	grant := "want GRANT SELECT, INSERT ON \"new_mail\" TO " + p.User
	p.Exec(t, "REVOKE INSERT ON new_mail FROM "+p.User)
	wantCheck(t, d, nil, 78, "POSTGRES_DSN: ", "permission denied for table new_mail", grant+"\n")
	d.Start(t)
	d.AwaitLog(t, strings.ReplaceAll(grant, `"`, `\"`), 1)
	p.Exec(t, strings.TrimPrefix(grant, "want "))
	wantCheck(t, d, map[string]string{"GM_KEEP_HOURS": "1"}, 0, "old messages cannot be deleted", "want GRANT DELETE ON \"new_mail\" TO "+p.User+"\n")
	p.GrantDelete(t, "new_mail")
	wantCheck(t, d, nil, 0, good)
	wantCheck(t, d, map[string]string{"GM_KEEP_HOURS": "", "GM_MAIL_TABLE": "other"}, 78, "the table does not exist, or is in no schema of search_path")
	p.Exec(t, "CREATE TABLE other (hash text, recipient text)", "GRANT SELECT, INSERT ON other TO "+p.User)
	wantCheck(t, d, nil, 78, "the table lacks the columns mail")

	dsn := func(s string) map[string]string {
		return map[string]string{"GM_MAIL_TABLE": "", "POSTGRES_DSN": s}
	}
	server := "host=127.0.0.1 port=" + p.Port() + " user=" + p.User + " sslmode=disable dbname="
	wantCheck(t, d, dsn(server+p.DB+" password=wr0ng"), 78, "POSTGRES_DSN: ", "password authentication failed for user \"goguerrilla\"")
	dir := t.TempDir()
	d.Env = append(d.Env, "CREDENTIALS_DIRECTORY="+dir)
	test.WriteFile(t, dir, "postgres_pass", p.Pass+"\n")
	wantCheck(t, d, dsn(server+p.DB), 0, good)
	if account := d.Keys["GUID"]; account != "" { // as root
		wantCheck(t, d, dsn(strings.Replace(server, "user="+p.User, "", 1)+p.DB), 78, "password authentication failed for user \""+account+"\"")
	}
	wantCheck(t, d, dsn(server+"missing"), 78, "database \"missing\" does not exist")
	if _, out := check(t, d, dsn(strings.Replace(server, "sslmode=disable", "sslmode=prefer", 1)+p.DB+" password=wr0ng")); strings.Count(out, "password authentication failed") != 1 {
		t.Errorf("the output does not have one error:\n%s", out)
	}
	wantCheck(t, d, dsn(server+p.DB+" sslmode=require"), 0, "the store was not checked: ", "server refused TLS connection")
	nobody := fmt.Sprint(test.FreePort(t))
	wantCheck(t, d, dsn(strings.Replace(server, p.Port(), nobody, 1)+p.DB), 0, "the store was not checked: ", "connection refused", "configuration is valid: the store not checked\n")

	p.Set(t, "fsync=off", "synchronous_commit=local")
	wantCheck(t, d, dsn(server+p.DB), 0, "PostgreSQL setting weakens durability: setting fsync, value off, safe on\n",
		"PostgreSQL setting weakens durability: setting synchronous_commit, value local, safe on\n", "configuration is valid: 2 warnings\n")
}

// TestCheckSampleRow: -t inserts a row and rolls back, which finds what the definitions of the
// columns do not show.
func TestCheckSampleRow(t *testing.T) {
	p := servers.Postgres(t)
	d := newChecked(t, p.Keys())
	p.Exec(t, "CREATE TABLE users (address text PRIMARY KEY)", "CREATE TYPE kind AS ENUM ('a')")
	for _, tt := range []struct{ name, want string }{
		{"ALTER COLUMN subject TYPE text[] USING NULL", "malformed array literal"},
		{"ALTER COLUMN content_type TYPE kind USING NULL", "invalid input value for enum kind"},
		{"ADD CHECK (recipient <> 'postmaster@example.com')", "violates check constraint"},
		{"ADD FOREIGN KEY (recipient) REFERENCES users DEFERRABLE INITIALLY DEFERRED", "violates foreign key constraint"},
		{"ENABLE ROW LEVEL SECURITY", "violates row-level security policy"},
		{"skip", "a trigger of the table has skipped a row"},
		{"policy", "the user does not see the row that it has inserted"},
		{"partition", "no partition of relation"},
	} {
		p.Exec(t, "DROP TABLE IF EXISTS new_mail")
		p.CreateTable(t, "new_mail")
		switch tt.name {
		case "skip":
			p.Exec(t, "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
				"CREATE TRIGGER skip BEFORE INSERT ON new_mail FOR EACH ROW EXECUTE FUNCTION skip()")
		case "policy":
			p.Exec(t, "ALTER TABLE new_mail ENABLE ROW LEVEL SECURITY", "CREATE POLICY i ON new_mail FOR INSERT WITH CHECK (true)", "CREATE POLICY s ON new_mail FOR SELECT USING (delivered)")
		case "partition":
			p.Exec(t, "DROP TABLE new_mail", "CREATE TABLE new_mail (hash text, recipient text, mail bytea) PARTITION BY LIST (recipient)", "GRANT SELECT, INSERT ON new_mail TO "+p.User)
		default:
			p.Exec(t, "ALTER TABLE new_mail "+tt.name)
		}
		wantCheck(t, d, nil, 0, "PostgreSQL table rejects a sample row: ", tt.want, "configuration is valid: 1 warning\n")
	}
	d.Env = append(d.Env, "INVOCATION_ID=0") // a reload of the service does not run triggers
	wantCheck(t, d, nil, 0, good)

	m := servers.MariaDB(t)
	m.CreateTable(t, "new_mail")
	m.Exec(t, "SET GLOBAL max_allowed_packet=67108864")
	d = newChecked(t, m.Keys())
	var rows int
	wantCheck(t, d, nil, 0, good)
	m.Exec(t, "ALTER TABLE "+m.DB+".new_mail ADD CHECK (recipient <> 'postmaster@example.com')")
	wantCheck(t, d, nil, 0, "MySQL table rejects a sample row: ", "CONSTRAINT", "configuration is valid: 1 warning\n")
	m.Exec(t, "ALTER TABLE "+m.DB+".new_mail ENGINE=MyISAM")
	wantCheck(t, d, nil, 0, "MySQL table is not InnoDB: ", "configuration is valid: 1 warning\n")
	if m.QueryRow(t, "SELECT COUNT(*) FROM "+m.DB+".new_mail", &rows); rows != 0 {
		t.Errorf("-t has left %d rows, want none", rows)
	}
}

// TestCheckHang: a MySQL server that hangs does not prevent the checks of the other servers
// and of Redis.
func TestCheckHang(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, and nothing replies
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	hangs := l.Addr().String()
	m := servers.MariaDB(t, "--max-allowed-packet=64M")
	m.CreateTable(t, "new_mail")
	r := servers.Redis(t)
	d := newChecked(t, m.Keys())
	wantCheck(t, d, map[string]string{"MYSQL_HOST": hangs + "," + m.Addr, "REDIS_HOST": r.Addr}, 0,
		"MySQL server unhealthy, using the others: host "+hangs+", reason no reply in 5s\n", "configuration is valid: 1 warning\n")
	wantCheck(t, d, map[string]string{"MYSQL_HOST": hangs + "," + hangs}, 0, "the store was not checked: "+hangs+" as user", "configuration is valid: the store not checked\n")
}

// TestCheckRedis: -t connects to Redis and prints the warnings of the log.
func TestCheckRedis(t *testing.T) {
	r := servers.Redis(t)
	nobody := fmt.Sprintf("127.0.0.1:%d", test.FreePort(t))
	dir := test.PublicDir(t)
	d := newChecked(t, map[string]string{"SQLITE_FILE": filepath.Join(dir, "mail.db"), "REDIS_HOST": r.Addr})
	d.Chown(t, dir)
	wantCheck(t, d, nil, 0, good)
	wantCheck(t, d, map[string]string{"REDIS_PASS": "wr0ng"}, 0, "Redis unavailable: mode cache, reason "+r.Addr+": authenticate: ")
	wantCheck(t, d, map[string]string{"REDIS_PASS": "", "REDIS_DB": "99"}, 0, "Redis unavailable: mode cache, reason "+r.Addr+": select database 99: ")
	wantCheck(t, d, map[string]string{"REDIS_DB": "", "REDIS_HOST": nobody}, 0, "Redis unavailable: mode cache, reason dial tcp "+nobody+": ")
	wantCheck(t, d, map[string]string{"REDIS_HOST": r.Addr, "REDIS_MODE": "store"}, 0, "Redis loses all messages when it stops")
}

// TestCheckWebhook: -t sends no message to the receiver. A receiver that is down is not
// checked; a certificate that cannot be verified is an error.
func TestCheckWebhook(t *testing.T) {
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead {
			t.Errorf("received %s, want HEAD", r.Method)
		}
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	d := newChecked(t, map[string]string{"GM_SAVE_MAIL": "webhook", "WEBHOOK_SECRET": "wr0ng"})
	url := func(s string) map[string]string { return map[string]string{"WEBHOOK_URL": s + "/wr0ng"} }
	wantCheck(t, d, url(plain.URL), 0, good)
	wantCheck(t, d, url(fmt.Sprintf("http://127.0.0.1:%d", test.FreePort(t))), 0, "the store was not checked: dial tcp ", "connection refused")
	wantCheck(t, d, url(secure.URL), 78, "WEBHOOK_URL: tls: failed to verify certificate: ")
	wantCheck(t, d, url(strings.Replace(plain.URL, "http", "https", 1)), 78, "WEBHOOK_URL: http: server gave HTTP response to HTTPS client")
}

// TestCheckSQLite: -t refuses what the daemon cannot use, and nothing else.
func TestCheckSQLite(t *testing.T) {
	test.NeedRoot(t)
	dir := test.PublicDir(t)
	file := filepath.Join(dir, "mail.db")
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // which stays open, so the WAL stays
	d := newChecked(t, map[string]string{"SQLITE_FILE": file})
	for _, tt := range []struct {
		change string
		status int
		want   string
	}{
		{"PRAGMA journal_mode=WAL; CREATE TABLE new_mail (mail, hash, recipient)", 0, good},
		{"ALTER TABLE new_mail DROP COLUMN hash", 78, "SQLITE_FILE: " + file + ": table new_mail: the table lacks the columns hash"},
		{"DROP TABLE new_mail; CREATE TABLE new_mail (mail, hash, recipient, tenant NOT NULL)", 78, "table new_mail needs a value or a default for the columns tenant"},
		{"DROP TABLE new_mail; CREATE TABLE new_mail (mail int, hash text, recipient text) STRICT", 78, "table new_mail is STRICT and cannot hold the values of the columns mail"},
		{"DROP TABLE new_mail", 0, good},
	} {
		if _, err := db.Exec(tt.change); err != nil {
			t.Fatalf("%s: %v", tt.change, err)
		}
		for _, path := range []string{dir, file, file + "-wal", file + "-shm"} {
			d.Chown(t, path)
		}
		wantCheck(t, d, nil, tt.status, tt.want)
	}
	if err := os.Chown(file+"-wal", 0, 0); err != nil { // as after a run by root
		t.Fatal(err)
	}
	wantCheck(t, d, nil, 78, "SQLITE_FILE: open "+file+"-wal: permission denied for the user ")
	// The daemon creates the directory of the file, but no parent of the directory.
	wantCheck(t, d, map[string]string{"SQLITE_FILE": filepath.Join(dir, "new", "mail.db")}, 0, good)
	wantCheck(t, d, map[string]string{"SQLITE_FILE": filepath.Join(dir, "no", "new", "mail.db")}, 78, "SQLITE_FILE: create files in "+filepath.Join(dir, "no", "new")+": no such file")
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("-t has created a directory")
	}
}
