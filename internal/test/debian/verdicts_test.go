package debian

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
)

// These tests follow docs/verdicts.md on Debian 12.
func TestVerdictsPageMySQL(t *testing.T)    { testVerdictsPage(t, "mysql") }
func TestVerdictsPagePostgres(t *testing.T) { testVerdictsPage(t, "postgres") }
func TestVerdictsPageSQLite(t *testing.T)   { testVerdictsPage(t, "sqlite") }

// testVerdictsPage runs the commands of the page for a store in their order. The packages
// that the page installs are there already, since the container has no network.
func testVerdictsPage(t *testing.T, store string) {
	m := boot(t, "bookworm", "rspamd", "redis-server", "unbound", "dns-root-data", "mariadb-server", "postgresql", "sqlite3", "python3-pymysql", "python3-psycopg2", "curl")
	m.Write(t, "/etc/hosts", "127.0.0.1 localhost\n") // as the installer of Debian does
	page := test.ReadPage(t, "verdicts.md")
	do := func(title string) string {
		t.Helper()
		return m.Run(t, "set -e\n"+strings.ReplaceAll(page.Block(t, "sh "+title), "apt ", "apt-get --yes "))
	}
	m.Run(t, "apt-get --yes install "+m.debs[0])
	keys := map[string]string{"GM_ALLOWED_HOSTS": "example.com", "GSMTP_HOST_NAME": "mail.example.com"}
	switch store {
	case "postgres":
		m.Run(t, test.ReadPage(t, "first-hour.md").Block(t, "sh roles"))
		keys["POSTGRES_DSN"] = "host=/run/postgresql user=goguerrilla dbname=mail"
	case "mysql":
		m.Run(t, "mariadb -e \"CREATE DATABASE mail; USE mail; SOURCE /usr/share/doc/goguerrillad/examples/new_mail.sql;"+
			" CREATE USER 'goguerrilla'@'localhost' IDENTIFIED BY 'secret'; GRANT SELECT, INSERT ON mail.new_mail TO 'goguerrilla'@'localhost'\"")
		keys["MYSQL_HOST"], keys["MYSQL_USER"], keys["MYSQL_PASS"], keys["MYSQL_DB"] = "/run/mysqld/mysqld.sock", "goguerrilla", "secret", "mail"
	}
	m.configure(t, keys)
	m.Run(t, "systemctl start goguerrillad.socket goguerrillad.service")

	do("rspamd")
	for title := range page {
		if path, ok := strings.CutPrefix(title, "ucl "); ok {
			m.Write(t, path, page.Block(t, title))
		}
	}
	do("restart")
	m.Write(t, "/root/statements.sql", page.Block(t, "sql "+store))
	switch store {
	case "postgres":
		m.Run(t, "su - postgres -c 'psql --set=ON_ERROR_STOP=1 mail' < /root/statements.sql")
	case "mysql":
		m.Run(t, "mariadb < /root/statements.sql")
	default:
		test.Await(t, nil, 20*time.Second, "waiting for the table", func() error {
			out, err := m.Try("runuser -u goguerrilla -- sqlite3 /var/lib/goguerrillad/mail.db < /root/statements.sql")
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			return err
		})
	}
	do(store)
	if out, err := m.Try("systemd-analyze verify goguerrillad-verdicts.service"); err != nil || out != "" {
		t.Errorf("systemd-analyze verify: %v %s", err, out)
	}
	const log = "journalctl --unit=goguerrillad-verdicts --no-pager"
	do("try")
	test.Await(t, nil, time.Minute, "waiting for a verdict", func() error {
		if out := m.Run(t, log); !strings.Contains(out, "mail_id 1: score ") || !strings.Contains(out, ", dkim_valid 0; mail.example.com; none") {
			return fmt.Errorf("the log is %s", out)
		}
		return nil
	})
	t.Log(m.Run(t, log))
	if out := m.Run(t, "systemctl is-enabled goguerrillad-verdicts; systemctl show --property=NRestarts goguerrillad-verdicts"); out != "enabled\nNRestarts=0" {
		t.Errorf("the unit is %s", out)
	}
	if out := m.Run(t, "systemctl show --property=ActiveState rspamd unbound redis-server"); strings.Count(out, "ActiveState=active") != 3 {
		t.Errorf("rspamd, unbound, redis-server: %s\n%s", out, m.Run(t, "journalctl --no-pager --unit=unbound"))
	}
}
