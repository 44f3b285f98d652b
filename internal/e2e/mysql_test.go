package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"goguerrillad/internal/testserver"
)

// startDaemon starts a daemon on one of the stores: a SQLite file of its own,
// or a table of its own in the shared MariaDB.
func startDaemon(t *testing.T, store string, keys map[string]string) (*testserver.Daemon, *table) {
	t.Helper()
	d := newDaemon(t, keys)
	if store == "sqlite" {
		d.Start(t)
		return d, sqliteTable(t, d)
	}
	testserver.Need(t, "mariadbd", "mariadb-install-db")
	m := shared.mariadb()
	name := fmt.Sprintf("mail_%d", testserver.FreePort(t)) // a number that no other test has now
	d.Configure(t, mysqlKeys(m))
	d.Configure(t, map[string]string{"GM_MAIL_TABLE": name})
	m.Exec(t, schema(t, m.DB+"."+name))
	t.Cleanup(func() { m.Exec(t, "DROP TABLE "+m.DB+"."+name) })
	d.Start(t)
	return d, &table{m.Connect(t), name}
}

// mysqlKeys is the configuration for a server.
func mysqlKeys(m *testserver.MariaDBServer) map[string]string {
	return map[string]string{
		"GM_SAVE_MAIL": "mysql", "MYSQL_HOST": m.Addr, "MYSQL_USER": m.User, "MYSQL_PASS": m.Pass, "MYSQL_DB": m.DB,
	}
}

// schema is the statement that makes the table as it always was.
func schema(t *testing.T, name string) string {
	t.Helper()
	root, err := testserver.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "internal/savemail/mysql/new_mail.sql"))
	if err != nil {
		t.Fatal(err)
	}
	statement := strings.Replace(string(text), "`new_mail`", name, 1)
	if !strings.Contains(statement, name) {
		t.Fatal("new_mail.sql does not name its table")
	}
	return statement
}
