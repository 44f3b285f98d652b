package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// verdicts is a DNS server with records of senders, a signer, and an rspamd that uses
// the DNS server and the configuration in verdicts.md.
type verdicts struct {
	page   test.Page
	rspamd *servers.RspamdServer
	key    string // file with the private key of all signing domains
}

// Addresses of clients.
const (
	permitted = "192.0.2.10" // by the SPF records
	other     = "192.0.2.66"
)

func newVerdicts(t *testing.T) *verdicts {
	t.Helper()
	if testing.Short() {
		t.Skip("runs rspamd")
	}
	test.Need(t, "/usr/bin/python3", "dkimsign", "rspamd", "unbound")
	v := &verdicts{page: test.ReadPage(t, "verdicts.md")}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	v.key = test.WriteFile(t, t.TempDir(), "key.pem",
		string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	p := base64.StdEncoding.EncodeToString(public)
	var records []string
	add := func(name, text string) { records = append(records, name+". TXT "+text) }
	for _, domain := range []string{"example.org", "mail.example.org", "other.example", "none.example", "nodmarc.example"} {
		add("sel._domainkey."+domain, `"v=DKIM1; k=rsa; p=`+p[:200]+`" "`+p[200:]+`"`)
	}
	for _, domain := range []string{"example.org", "sub.example.org", "none.example", "quarantine.example", "nodmarc.example", "xn--hxajbheg2az3al.example", "mail.helo.example"} {
		add(domain, `"v=spf1 ip4:`+permitted+` -all"`)
	}
	for domain, policy := range map[string]string{"example.org": "reject", "none.example": "none", "quarantine.example": "quarantine"} {
		add("_dmarc."+domain, `"v=DMARC1; p=`+policy+`"`)
	}
	redis, local := servers.Redis(t), map[string]string{}
	for title := range v.page {
		if name, ok := strings.CutPrefix(title, "ucl "); ok {
			local[strings.TrimPrefix(name, "/etc/rspamd/local.d/")] = strings.ReplaceAll(v.page.Block(t, title), "127.0.0.1:6379", redis.Addr)
		}
	}
	v.rspamd = servers.Rspamd(t, servers.DNS(t, records...), local)
	return v
}

// sign returns the message with a DKIM signature of the domain.
func (v *verdicts) sign(t *testing.T, domain, message string) string {
	t.Helper()
	cmd := exec.Command("dkimsign", "sel", domain, v.key)
	cmd.Stdin = strings.NewReader(message)
	out, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(out), "DKIM-Signature:") {
		t.Fatalf("dkimsign: %v, %s", err, out)
	}
	return string(out)
}

// A judged is a daemon with a table in which goguerrillad-verdicts works.
type judged struct {
	*verdicts
	d     *daemon.Daemon
	table *table
	args  []string // command of the program
	env   []string
	store string
	user  string                  // of MySQL
	pg    *servers.PostgresServer // with PostgreSQL
}

// daemon starts a daemon and makes the index, the column and the user of verdicts.md.
func (v *verdicts) daemon(t *testing.T, store string, withResults bool, keys map[string]string) *judged {
	t.Helper()
	keys["GSMTP_TRUSTED_PROXIES"] = "127.0.0.0/8"
	j := &judged{verdicts: v, store: store}
	credentials := t.TempDir()
	j.env = []string{"CREDENTIALS_DIRECTORY=" + credentials}
	if store == "postgres" {
		j.pg = servers.Postgres(t)
		j.pg.CreateTable(t, "new_mail")
		maps.Copy(keys, j.pg.Keys())
		j.d, j.table = newDaemon(t, keys), &table{j.pg.Connect(t), "new_mail"}
		j.d.Start(t)
	} else {
		j.d, j.table = startDaemon(t, store, keys)
	}
	var statements string
	switch store {
	case "sqlite":
		test.Await(t, j.d.Process(), 20*time.Second, "the daemon has not created the table", func() error {
			return j.table.db.QueryRow("SELECT COUNT(*) FROM new_mail").Scan(new(int)) // read-only: root must not create the file
		})
		db, err := sql.Open("sqlite", "file:"+j.d.Keys["SQLITE_FILE"]+"?_pragma=busy_timeout(10000)")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		j.table.db = db
		statements = v.page.Block(t, "sql sqlite")
		j.args = execStart(t, "goguerrillad-verdicts-sqlite.conf", "/var/lib/goguerrillad/mail.db", j.d.Keys["SQLITE_FILE"], "127.0.0.1:11333", v.rspamd.Addr)
	case "postgres":
		statements = v.page.Block(t, "sql postgres")
		test.WriteFile(t, credentials, "postgres_pass", "a long password\n")
		j.args = execStart(t, "goguerrillad-verdicts-postgres.conf", "127.0.0.1/mail", fmt.Sprintf("127.0.0.1:%d,%s/mail", test.FreePort(t), j.pg.Addr), "127.0.0.1:11333", v.rspamd.Addr)
	default:
		m := shared.MariaDB()
		j.user = fmt.Sprintf("verdicts%d", test.FreePort(t))
		statements = v.page.Block(t, "sql mysql", "mail.new_mail", m.DB+"."+j.table.name, "'verdicts'@'localhost'", "'"+j.user+"'@'localhost'")
		t.Cleanup(func() { m.Exec(t, "DROP USER '"+j.user+"'@'localhost'") })
		test.WriteFile(t, credentials, "mysql_pass", "a long password\n")
		j.args = execStart(t, "goguerrillad-verdicts.service", "/run/mysqld/mysqld.sock", m.Socket, "--user verdicts", "--user "+j.user,
			"--database mail", "--database "+m.DB, "--table new_mail", "--table "+j.table.name, "127.0.0.1:11333", v.rspamd.Addr)
	}
	for _, s := range strings.Split(statements, ";\n") {
		if s = strings.TrimSpace(s); s == "" || !withResults && strings.HasPrefix(s, "ALTER TABLE") {
			continue
		}
		if !withResults {
			s = strings.ReplaceAll(s, ", auth_results", "")
		}
		// The daemon may not have created the table yet.
		test.Await(t, j.d.Process(), 10*time.Second, s, func() error {
			_, err := j.table.db.Exec(s)
			return err
		})
	}
	j.args = append(j.args, "--retry", "0.2")
	return j
}

// execStart returns the command in an example of a unit or a drop-in, with the path of the
// program in this tree. pairs has old and new values in the command.
func execStart(t *testing.T, example string, pairs ...string) []string {
	t.Helper()
	root, err := test.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(test.ReadSource(t, "packaging/systemd/examples/"+example)) {
		if command, ok := strings.CutPrefix(line, "ExecStart=/usr/local/bin/"); ok {
			for i := 0; i < len(pairs); i += 2 {
				if !strings.Contains(command, pairs[i]) {
					t.Fatalf("%s: the command %q lacks %q", example, command, pairs[i])
				}
			}
			return strings.Fields(filepath.Join(root, "packaging/rspamd") + "/" + strings.NewReplacer(pairs...).Replace(command))
		}
	}
	t.Fatalf("%s has no ExecStart=/usr/local/bin/", example)
	return nil
}

// start starts the program.
func (j *judged) start(t *testing.T) *test.Process {
	t.Helper()
	cmd := exec.Command("/usr/bin/python3", j.args...)
	cmd.Env = append(os.Environ(), j.env...)
	return test.Start(t, cmd)
}

// send sends a message from a client address with its name in HELO.
func (j *judged) send(t *testing.T, client, helo, from string, to []string, message string) {
	t.Helper()
	c := j.session(t, client, helo)
	defer c.Close()
	params := ""
	if strings.ContainsFunc(from+to[0], func(r rune) bool { return r > 127 }) {
		params = "SMTPUTF8"
	}
	if r, err := c.Send(from, params, to, []byte(message)); err != nil || r.Code != 250 {
		t.Fatalf("reply %v, %v\n%s", r, err, j.d.Log())
	}
}

func (j *judged) session(t *testing.T, address, helo string) *client.Client {
	t.Helper()
	c := connect(t, j.d)
	expect(t, c, 220, "", "XCLIENT ADDR="+address)
	expect(t, c, 250, "", "EHLO "+helo)
	return c
}

// A verdict is what the program writes into a row.
type verdict struct {
	score float64
	dkim  sql.NullInt64
	auth  sql.NullString
}

// rows returns the verdicts of a recipient's rows.
func (j *judged) rows(t *testing.T, to string, auth bool) (list []verdict) {
	t.Helper()
	column := "NULL"
	if auth {
		column = "auth_results"
	}
	query := "SELECT spam_score, dkim_valid, " + column + " FROM " + j.table.name + " WHERE `to` = ?"
	if j.pg != nil {
		query = strings.NewReplacer("`", `"`, "dkim_valid", "dkim_valid::int", "?", "$1").Replace(query)
	}
	rows, err := j.table.db.Query(query, to)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var one verdict
		if err := rows.Scan(&one.score, &one.dkim, &one.auth); err != nil {
			t.Fatal(err)
		}
		list = append(list, one)
	}
	return list
}

// left returns the number of rows without a verdict.
func (j *judged) left(t *testing.T) (n int) {
	t.Helper()
	if err := j.table.db.QueryRow("SELECT COUNT(*) FROM " + j.table.name + " WHERE dkim_valid IS NULL").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// await waits until the number of rows without a verdict is n.
func (j *judged) await(t *testing.T, p *test.Process, n int) {
	t.Helper()
	test.Await(t, p, 60*time.Second, "waiting for verdicts", func() error {
		if left := j.left(t); left != n {
			return fmt.Errorf("%d rows have no verdict, want %d", left, n)
		}
		return nil
	})
}
