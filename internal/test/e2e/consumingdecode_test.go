package e2e

import (
	"database/sql"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"goguerrillad/internal/test"
)

// big is an attachment of 5 MB.
var big = strings.Repeat(strings.Repeat("QUFB", 19)+"\r\n", 90_000)

// decoded are messages, and what the Python program stores for them: text, HTML, and the
// attachments in the form "number name type size".
var decoded = []struct{ message, text, html, attachments string }{
	{"Subject: plain\r\n\r\ntext\r\n", "text\r\n", "", ""},
	{"no header\r\n", "no header\r\n", "", ""},
	{"Content-Type: text/html; charset=iso-8859-1\r\n\r\n<p>gr\xfc\xdfe", "", "<p>gr\u00fc\u00dfe\r\n", ""},
	{"Content-Type: text/plain; charset=x-unknown\r\n\r\ncaf\xe9\r\n", "caf\u00e9\r\n", "", ""},
	{"Content-Type: text/plain; charset=utf-8\r\n\r\n\xff\r\n", "\ufffd\r\n", "", ""},
	{"\r\nNUL \x00\r\n", "NUL \x00\r\n", "", ""},
	{"Content-Type: application/pdf; name=\"../../etc/passwd\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n", "", "", "0 ../../etc/passwd application/pdf 3\n"},
	{"Content-Type: multipart/mixed; boundary=m\r\n\r\n" +
		"--m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n" +
		"--a\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ngr=C3=BC=C3=9Fe\r\n" +
		"--a\r\nContent-Type: text/html\r\n\r\n<b>hello</b>\r\n--a--\r\n" +
		"--m\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename*=utf-8''%C3%BC.txt\r\n\r\nfile\r\n" +
		"--m\r\nContent-Type: message/rfc822\r\n\r\nSubject: enclosed\r\n\r\ninner text\r\n" +
		"--m\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" + big + "\r\n--m--\r\n",
		"gr\u00fc\u00dfe", "<b>hello</b>", "0 \u00fc.txt text/plain 4\n1 - text/plain 10\n2 - application/octet-stream 5130000\n"},
}

// decode runs the Python program with messages as they are, compressed, and in Redis.
func (c *consumed) decode(t *testing.T) {
	test.Need(t, "/usr/bin/python3")
	w := c.start(t, decodeSink(t, c), 2, "60")
	for _, keys := range []map[string]string{{}, {"GM_MAIL_COMPRESS": "Y"}, {"REDIS_MODE": "store"}} {
		if !c.Reload(t, keys) {
			t.Fatalf("reload refused\n%s", c.Log())
		}
		c.empty(t)
		session := connect(t, c.Daemon)
		var hashes []string
		for _, m := range decoded {
			r, err := session.Send("sender@example.org", "", []string{"someone@example.com"}, []byte(m.message))
			if err != nil || r.Code != 250 {
				t.Fatalf("reply %v, %v", r, err)
			}
			hashes = append(hashes, r.Hash())
		}
		c.awaitRows(t, w, len(decoded), "delivered = true")
		for i, m := range decoded {
			var text, html sql.NullString
			if err := c.db.QueryRow("SELECT text, html FROM content WHERE hash = '"+hashes[i]+"'").Scan(&text, &html); err != nil {
				t.Fatal(err)
			}
			attachments := c.attachments(t, hashes[i])
			if c.postgres != nil {
				m.text = strings.ReplaceAll(m.text, "\x00", "\ufffd")
			}
			if text.String != m.text || html.String != m.html || attachments != m.attachments {
				t.Errorf("%v: message %d: text %q, HTML %q, attachments %q", keys, i, text.String, html.String, attachments)
			}
		}
	}
}

func (c *consumed) attachments(t *testing.T, hash string) string {
	t.Helper()
	rows, err := c.db.Query("SELECT number, COALESCE(name, '-'), type, length(data) FROM attachment WHERE hash = '" + hash + "' ORDER BY number")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var list strings.Builder
	for rows.Next() {
		var number, size int
		var name, kind string
		if err := rows.Scan(&number, &name, &kind, &size); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&list, "%d %s %s %d\n", number, name, kind, size)
	}
	return list.String()
}

// TestWakeUp: an entry of the stream wakes the Python program, which continues without
// Redis.
func TestWakeUp(t *testing.T) {
	test.Need(t, "/usr/bin/python3")
	c := newConsumed(t, "sqlite")
	s := decodeSink(t, c)
	// Only the stream can wake the worker in time.
	wake := c.page.Block(t, "python wake", s.pairs[0], s.pairs[1], "block=1000", "block=600000", "socket_timeout=5", "socket_timeout=700")
	s.pairs = append(s.pairs, "    time.sleep(1)  # then connect again\n", wake)
	w := c.start(t, s, 1, "60")
	session, db := connect(t, c.Daemon), c.redis.Connect(t)
	for n := 1; n <= 2; n++ {
		test.Await(t, w.running[0], 20*time.Second, "waiting for the worker to wait", func() error {
			if clients, err := redigo.String(db.Do("CLIENT", "LIST")); err != nil || !strings.Contains(clients, "cmd=xread") {
				return fmt.Errorf("clients %s, %v", clients, err)
			}
			return nil
		})
		send(t, session, "someone@example.com")
		c.awaitRows(t, w, n, "delivered = true")
	}
	c.redis.Kill()
	send(t, session, "someone@example.com")
	c.awaitRows(t, w, 3, "delivered = true")
}

// TestWorkerUnit: systemd accepts the unit on the page.
func TestWorkerUnit(t *testing.T) {
	test.Need(t, "systemd-analyze")
	dir := t.TempDir()
	unit := test.ReadPage(t, "consuming.md").Block(t, "ini unit", "/usr/bin/php", "/bin/true")
	test.WriteFile(t, dir, "worker@.service", unit)
	if out, err := exec.Command("systemd-analyze", "verify", filepath.Join(dir, "worker@1.service")).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
