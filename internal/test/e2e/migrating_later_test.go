package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
)

// A laterRow is a row of the table of go-guerrilla 1.5 to 2.x.
type laterRow struct {
	to, from, subject, body, hash, contentType, recipient string
	hasAttach                                             int
	ip                                                    []byte
	returnPath                                            string
	tls                                                   bool
	messageID, replyTo, sender                            string
	helo                                                  string
	size                                                  int64
	suite                                                 string
}

// row returns the row of a recipient.
func (m *migration) row(t *testing.T, recipient string) laterRow {
	t.Helper()
	var r laterRow
	err := m.db.QueryRow("SELECT `to`, `from`, subject, body, hash, content_type, recipient, has_attach, ip_addr, return_path,"+
		" is_tls = b'1', message_id, reply_to, sender, helo, size, tls FROM "+m.name+" WHERE recipient = ?", recipient).Scan(
		&r.to, &r.from, &r.subject, &r.body, &r.hash, &r.contentType, &r.recipient, &r.hasAttach, &r.ip, &r.returnPath,
		&r.tls, &r.messageID, &r.replyTo, &r.sender, &r.helo, &r.size, &r.suite)
	if err != nil {
		t.Fatalf("the row of %s: %v", recipient, err)
	}
	return r
}

// compresses reports whether save_process contains Compressor, in any case.
func compresses(process string) bool {
	return strings.Contains(strings.ToLower(process), "compressor")
}

// insertLater inserts a message as go-guerrilla 1.5 to 2.x does with the processor Sql: a
// row for each recipient, all with one hash, and in Redis if it is used.
func (m *migration) insertLater(t *testing.T, process string, recipients ...string) (text string) {
	t.Helper()
	text = "Delivered-To: " + recipients[0] + "\nTo: list@example.com\nSubject: old\n\ntext\n"
	hash := fmt.Sprintf("%032x", []byte(recipients[0]))[:32]
	body, mail := "", []byte(text)
	if compresses(process) {
		body, mail = "gzip", deflate(text)
	}
	if strings.Contains(process, "Redis") {
		if _, err := m.redis.Connect(t).Do("SETEX", hash, 7200, mail); err != nil {
			t.Fatal(err)
		}
		body, mail = "redis", []byte{}
	}
	for _, r := range recipients {
		m.exec(t, "INSERT INTO "+m.name+" (`date`, `to`, `from`, subject, body, mail, spam_score, hash, content_type, recipient,"+
			" has_attach, ip_addr, return_path, is_tls, message_id, reply_to, sender)"+
			" VALUES (NOW(), 'list@example.com', 'a@example.org', 'old', ?, ?, 0, ?, 'text/plain; charset=utf-8', ?, 0, ?, 'a@example.org', ?, ?, '', '')",
			body, mail, hash, r, []byte{192, 0, 2, 1}, false, hash+"."+r)
	}
	return text
}

// TestMigratingLater follows migrating.md with a table of go-guerrilla 1.5 to 2.x: the
// daemon continues on it with the converted configuration, a reader of the old program
// reads the rows of both programs, and the old program continues.
func TestMigratingLater(t *testing.T) {
	const shown = "HeadersParser|Header|Hasher|Compressor|Redis|Sql"
	for _, tt := range []struct{ process, body string }{
		{"HeadersParser|Header|Hasher|Sql", ""},
		{"headersparser|header|hasher|compressor|sql", "gzip"},
		{shown, "redis"},
	} {
		t.Run(tt.process, func(t *testing.T) {
			page := test.ReadPage(t, "migrating.md")
			m := newMigration(t, page.Block(t, "sql later"))
			old := m.insertLater(t, tt.process, "old1@example.com", "old2@example.com")
			m.exec(t, page.Block(t, "sql added", "new_mail", m.name))

			// The conversion, with the servers of the test.
			dir := t.TempDir()
			cert := test.NewCertificate(t, dir, "mail.example.com")
			pass, err := json.Marshal(m.server.Pass)
			if err != nil {
				t.Fatal(err)
			}
			source := fmt.Sprintf("%s:%s@tcp(%s)/%s", m.server.User, strings.Trim(string(pass), `"`), m.server.Addr, m.server.DB)
			test.WriteFile(t, dir, "guerrilla.json", page.Block(t, "json later", shown, tt.process, `"new_mail"`, `"`+m.name+`"`,
				"gmail_mail:secret@tcp(127.0.0.1:3306)/gmail_mail", source, "127.0.0.1:6379", m.redis.Addr,
				"/etc/ssl/private/mail.example.com.key", cert.KeyFile, "/etc/ssl/certs/mail.example.com.pem", cert.CertFile))
			code, stderr := shell(t, dir, page.Block(t, "sh convert"))
			if code != 78 {
				t.Fatalf("exit status %d\n%s", code, stderr)
			}
			converted, err := os.ReadFile(filepath.Join(dir, "goguerrilla.conf"))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(converted)+stderr, "pass ") {
				t.Errorf("the password is printed:\n%s%s", converted, stderr)
			}

			d := m.start(t, string(converted))
			const text = "Message-ID: <one@example.org>\r\nTo: list@example.com\r\nReply-To: Reply <reply@example.org>\r\nSender: sender@example.org\r\n" +
				"Subject: new\r\nContent-Type: text/plain; charset=utf-8\r\n\r\ntext\r\n"
			c := connect(t, d)
			first := sendText(t, c, text, "new1@example.com", "new2@example.com")
			if err := c.StartTLS(cert.ClientConfig()); err != nil {
				t.Fatal(err)
			}
			if err := c.Hello(); err != nil {
				t.Fatal(err)
			}
			sendText(t, c, "Subject: bare\r\n\r\ntext\r\n", "secure@example.com")

			compressed := compresses(tt.process)
			for _, to := range []string{"old1@example.com", "old2@example.com"} {
				if got := m.read(t, to, compressed); len(got) != 1 || got[0] != old {
					t.Errorf("%s: %q, want %q", to, got, old)
				}
			}
			for _, to := range []string{"new1@example.com", "new2@example.com"} {
				if got := m.read(t, to, compressed); len(got) != 1 || !strings.HasPrefix(got[0], "Return-Path: ") || !strings.HasSuffix(got[0], "\r\n"+text) {
					t.Errorf("%s: %q", to, got)
				}
			}
			m.checkLater(t, tt.body, first, int64(len(text)))
			// GuerrillaRedisDB stores the text of the address.
			m.exec(t, "UPDATE "+m.name+" SET ip_addr = '192.0.2.100' WHERE recipient = 'old2@example.com'")
			var n, inTLS int
			query := "SELECT COUNT(*), SUM(tls) FROM (" + page.Block(t, "sql read", "new_mail", m.name) + ") AS r WHERE ip IN ('192.0.2.1', '192.0.2.100', '127.0.0.1')"
			if err := m.db.QueryRow(query).Scan(&n, &inTLS); err != nil || n != 5 || inTLS != 1 {
				t.Errorf("the query of the page: %d rows, %d of them with TLS, %v, want 5 and 1", n, inTLS, err)
			}

			d.Terminate(t)
			again := m.insertLater(t, tt.process, "again@example.com")
			if got := m.read(t, "again@example.com", compressed); len(got) != 1 || got[0] != again {
				t.Errorf("the old program continues: %q", got)
			}
		})
	}
}

// checkLater checks the columns of the messages that the daemon has stored. hash is that
// of the first one.
func (m *migration) checkLater(t *testing.T, body, hash string, size int64) {
	t.Helper()
	one, two, secure := m.row(t, "new1@example.com"), m.row(t, "new2@example.com"), m.row(t, "secure@example.com")
	if one.hash != hash || two.hash == hash || len(two.hash) != 32 {
		t.Errorf("hashes %s and %s, reply %s", one.hash, two.hash, hash)
	}
	for _, r := range []laterRow{one, two} {
		got := fmt.Sprintf("%s %s %s %s %s %d %v %s %v %s %s %s %d %q", r.to, r.from, r.subject, r.body, r.contentType, r.hasAttach, r.ip, r.returnPath, r.tls,
			strings.Trim(r.messageID, "<>"), r.replyTo, r.sender, r.size, r.suite)
		want := fmt.Sprintf("%s sender@example.org new %s text/plain 0 [127 0 0 1] sender@example.org false one@example.org reply@example.org sender@example.org %d %q",
			r.recipient, body, size, "")
		if got != want {
			t.Errorf("%s: the columns are\n%s\nwant\n%s", r.recipient, got, want)
		}
		if r.helo == "" {
			t.Errorf("%s: helo is empty", r.recipient)
		}
	}
	if !secure.tls || !strings.Contains(secure.suite, "TLS") || secure.messageID+secure.replyTo+secure.sender != "" {
		t.Errorf("inside TLS: is_tls %v, tls %q, message_id %q, reply_to %q, sender %q, want header columns that are empty", secure.tls, secure.suite,
			secure.messageID, secure.replyTo, secure.sender)
	}
}

// sendText sends a message and returns the hash in the reply.
func sendText(t *testing.T, c *client.Client, text string, to ...string) string {
	t.Helper()
	r, err := c.Send("sender@example.org", "", to, []byte(text))
	if err != nil || r.Code != 250 {
		t.Fatalf("message to %s: reply %v, %v", to, r, err)
	}
	return r.Hash()
}
