package e2e

import (
	"bytes"
	"compress/zlib"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	redigo "github.com/gomodule/redigo/redis"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// TestMigratingConfiguration runs the conversion of migrating.md: the page has what the
// program prints.
func TestMigratingConfiguration(t *testing.T) {
	page := test.ReadPage(t, "migrating.md")
	dir := t.TempDir()
	cert := test.NewCertificate(t, dir, "mail")
	pair := []string{"/etc/ssl/private/mail.example.com.key", cert.KeyFile, "/etc/ssl/certs/mail.example.com.pem", cert.CertFile}
	test.WriteFile(t, dir, "guerrilla.json", page.Block(t, "json later", pair...))
	if code, stderr := shell(t, dir, page.Block(t, "sh convert")); code != 78 || stderr != page.Block(t, "text converted") {
		t.Errorf("exit status %d, standard error\n%s", code, stderr)
	}
	converted, err := os.ReadFile(filepath.Join(dir, "goguerrilla.conf"))
	if err != nil || string(converted) != page.Block(t, "json converted", pair...) {
		t.Errorf("%v, the converted file is\n%s", err, converted)
	}
	if code, stderr := shell(t, dir, page.Block(t, "sh check")); code != 0 {
		t.Errorf("the converted file: exit status %d, %s", code, stderr)
	}
}

// shell runs a script with the program in PATH, and returns its exit status and
// standard error.
func shell(t *testing.T, dir, script string) (int, string) {
	t.Helper()
	cmd := exec.Command("sh", "-e", "-c", script)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + filepath.Dir(newDaemon(t, nil).Program) + ":" + os.Getenv("PATH")}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stderr.String()
}

// A migration is a table that an older program has filled, and the daemon that
// continues on it.
type migration struct {
	server *servers.MariaDBServer
	redis  *servers.RedisServer
	db     *sql.DB
	name   string // of the table
}

// newMigration creates the table; schema has its columns.
func newMigration(t *testing.T, schema string) *migration {
	t.Helper()
	test.Need(t, "mariadbd", "mariadb-install-db", "redis-server")
	m := &migration{server: shared.MariaDB(), redis: servers.Redis(t), name: fmt.Sprintf("old_%d", test.FreePort(t))}
	m.db = m.server.Connect(t)
	m.exec(t, strings.Replace(schema, "new_mail", m.name, 1))
	t.Cleanup(func() { m.server.Exec(t, "DROP TABLE "+m.server.DB+"."+m.name) })
	m.server.Exec(t, test.ReadPage(t, "migrating.md").Block(t, "sql grant", "gmail_mail.new_mail", m.server.DB+"."+m.name,
		"'gmail_mail'@'localhost'", "`"+m.server.User+"`@`%`"))
	return m
}

func (m *migration) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := m.db.Exec(statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// start starts a daemon with a configuration of the page.
func (m *migration) start(t *testing.T, text string) *daemon.Daemon {
	t.Helper()
	keys := map[string]string{}
	if err := json.Unmarshal([]byte(text), &keys); err != nil {
		t.Fatal(err)
	}
	d := newDaemon(t, nil)
	keys["GSTMP_LISTEN_INTERFACE"], keys["MYSQL_PASS"] = d.Addr, m.server.Pass
	keys["SGID"], keys["GUID"] = d.Keys["SGID"], d.Keys["GUID"]
	d.Keys = keys
	d.Configure(t, nil)
	d.StartAwaitReady(t)
	return d
}

// definition returns the statement that creates a table, without its name and its next
// number.
func (m *migration) definition(t *testing.T, table string) (text string) {
	t.Helper()
	if err := m.db.QueryRow("SHOW CREATE TABLE "+table).Scan(&table, &text); err != nil {
		t.Fatal(err)
	}
	text = strings.Replace(text, "`"+table+"`", "", 1)
	return regexp.MustCompile(" AUTO_INCREMENT=[0-9]+").ReplaceAllString(text, "")
}

// read reads the messages of one recipient as a program for the old table does:
// compressed reports whether the values in Redis are.
func (m *migration) read(t *testing.T, recipient string, compressed bool) (texts []string) {
	t.Helper()
	rows, err := m.db.Query("SELECT hash, body, mail FROM "+m.name+" WHERE recipient = ? ORDER BY mail_id", recipient)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var hash, body string
		var mail []byte
		if err := rows.Scan(&hash, &body, &mail); err != nil {
			t.Fatal(err)
		}
		packed := body == "gzip" || body == "gzencode"
		if body == "redis" {
			if len(mail) > 0 {
				t.Errorf("%s: body is redis, and mail has %d bytes", recipient, len(mail))
			}
			packed = compressed
			if mail, err = redigo.Bytes(m.redis.Connect(t).Do("GET", hash)); err != nil {
				t.Fatalf("%s: message in Redis: %v", recipient, err)
			}
		} else if body != "" && !packed {
			t.Errorf("%s: body is %q", recipient, body)
		}
		if packed {
			mail = inflate(t, mail)
		}
		texts = append(texts, string(mail))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return texts
}

func inflate(t *testing.T, data []byte) []byte {
	t.Helper()
	r, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func deflate(text string) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	io.WriteString(w, text)
	w.Close()
	return b.Bytes()
}

// TestMigrating2012 runs the configuration for 2012 of migrating.md on a table of 2012: a
// reader of 2012 reads the rows of both programs, and the old program continues.
func TestMigrating2012(t *testing.T) {
	m := newMigration(t, servers.Schema2012(t, "new_mail"))
	// insert inserts a row as in 2012: in Redis, or compressed if that failed.
	insert := func(to, hash string, inRedis bool) string {
		t.Helper()
		text := "Delivered-To: " + to + "\r\nSubject: old\r\n\r\ntext for " + to
		body, mail := "gzencode", deflate(text)
		if inRedis {
			if _, err := m.redis.Connect(t).Do("SETEX", hash, 3600, mail); err != nil {
				t.Fatal(err)
			}
			body, mail = "redis", []byte{}
		}
		m.exec(t, "INSERT INTO "+m.name+" (`date`, `to`, `from`, subject, body, charset, mail, spam_score, hash, content_type, recipient,"+
			" has_attach, ip_addr, attach_info) VALUES (NOW(), ?, 'a@example.org', 'old', ?, 'UTF-8', ?, 0, ?, 'text/plain', ?, 0, '192.0.2.1', '')",
			to, body, mail, hash, to)
		return text
	}
	want := map[string]string{
		"one@mail.example.com": insert("one@mail.example.com", strings.Repeat("1", 32), true),
		"two@mail.example.com": insert("two@mail.example.com", strings.Repeat("2", 32), false),
	}
	page := test.ReadPage(t, "migrating.md")
	m.exec(t, "ALTER TABLE "+m.name+" ROW_FORMAT=COMPACT") // as 2012, which limits an index to 767 bytes
	m.exec(t, page.Block(t, "sql widen", "new_mail", m.name))
	m.server.CreateTable(t, "shipped")
	if widened, shipped := m.definition(t, m.name), m.definition(t, "shipped"); widened != shipped {
		t.Errorf("the widened table is\n%s, the shipped one\n%s", widened, shipped)
	}
	d := m.start(t, page.Block(t, "json 2012", "new_mail", m.name, "127.0.0.1:3306", m.server.Addr, `"MYSQL_USER": "gmail_mail"`, `"MYSQL_USER": "`+m.server.User+`"`,
		`"MYSQL_DB": "gmail_mail"`, `"MYSQL_DB": "`+m.server.DB+`"`, "127.0.0.1:6379", m.redis.Addr))
	send(t, connect(t, d), "new@example.com")
	d.Terminate(t)
	want["back@mail.example.com"] = insert("back@mail.example.com", strings.Repeat("3", 32), false) // the old program, again

	for to, text := range want {
		if got := m.read(t, to, true); len(got) != 1 || got[0] != text {
			t.Errorf("%s: %q, want %q", to, got, text)
		}
	}
	got := m.read(t, "new@example.com", true)
	if len(got) != 1 || !strings.HasPrefix(got[0], "Return-Path: ") || !strings.HasSuffix(got[0], "\r\nSubject: small\r\n\r\ntext\r\n") {
		t.Errorf("new message: %q", got)
	}
	var inRedis int
	m.server.QueryRow(t, "SELECT COUNT(*) FROM "+m.server.DB+"."+m.name+" WHERE body = 'redis'", &inRedis)
	if inRedis != 2 {
		t.Errorf("%d rows of 4 have body=redis, want 2\n%s", inRedis, d.Log())
	}
}
