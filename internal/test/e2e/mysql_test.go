package e2e

import (
	"fmt"
	"testing"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
)

// startDaemon starts a daemon on one of the stores: a SQLite file of its own,
// or a table of its own in the shared MariaDB.
func startDaemon(t *testing.T, store string, keys map[string]string) (*daemon.Daemon, *table) {
	t.Helper()
	d := newDaemon(t, keys)
	if store == "sqlite" {
		d.Start(t)
		return d, sqliteTable(t, d)
	}
	test.Need(t, "mariadbd", "mariadb-install-db")
	m := shared.MariaDB()
	name := fmt.Sprintf("mail_%d", test.FreePort(t)) // a number that no other test has now
	d.Configure(t, m.Keys())
	d.Configure(t, map[string]string{"GM_MAIL_TABLE": name})
	m.CreateTable(t, name)
	t.Cleanup(func() { m.Exec(t, "DROP TABLE "+m.DB+"."+name) })
	d.Start(t)
	return d, &table{m.Connect(t), name}
}
