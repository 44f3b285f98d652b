package e2e

import (
	"fmt"
	"testing"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// startDaemon starts a daemon with its own SQLite file, or with its own table in a shared
// server.
func startDaemon(t *testing.T, store string, keys map[string]string) (*daemon.Daemon, *table) {
	t.Helper()
	d := newDaemon(t, keys)
	if store == "sqlite" {
		d.Start(t)
		return d, sqliteTable(t, d)
	}
	if store == "postgres" {
		p := shared.Postgres()
		name := fmt.Sprintf("mail_%d", test.FreePort(t)) // unique while the test runs
		d.Configure(t, p.Keys())
		d.Configure(t, map[string]string{"GM_MAIL_TABLE": name})
		p.CreateTable(t, name)
		t.Cleanup(func() { p.Exec(t, "DROP TABLE "+name) })
		d.Start(t)
		return d, &table{p.Connect(t), name}
	}
	servers.NeedMariaDB(t)
	m := shared.MariaDB()
	name := fmt.Sprintf("mail_%d", test.FreePort(t)) // unique while the test runs
	d.Configure(t, m.Keys())
	d.Configure(t, map[string]string{"GM_MAIL_TABLE": name})
	m.CreateTable(t, name)
	t.Cleanup(func() { m.Exec(t, "DROP TABLE "+m.DB+"."+name) })
	d.Start(t)
	return d, &table{m.Connect(t), name}
}
