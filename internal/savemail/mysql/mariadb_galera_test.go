package mysql_test

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/mysqlproxy"
	"goguerrillad/internal/test/servers"
)

// A galera is a cluster of three, whose first node loses a mail's session.
type galera struct {
	*bench  // of the second node
	cluster *servers.Galera
	first   *servers.MariaDBServer
	db1     *sql.DB // of the first node
	blocker *sql.Tx // holds the INSERT up on the first node
	outcome chan error
}

// TestGalera: what is lost with one node is settled by the others.
func TestGalera(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Galera cluster")
	}
	cluster := servers.StartGalera(t, 3, servers.Quick)
	first, second := cluster.Nodes[0], cluster.Nodes[1]
	db1, db2 := first.Connect(t), second.Connect(t)
	whole := t
	for i, tt := range []struct {
		name string
		run  func(*testing.T, *galera)
	}{
		{"killed before the commit", galeraKilledBefore},
		{"killed behind the commit", galeraKilledBehind},
		{"cut off before the commit", galeraCutOffBefore},
		{"cut off behind the commit", galeraCutOffBehind},
		{"hung before the commit", galeraHungBefore},
		{"hung behind the commit", galeraHungBehind},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := &galera{
				bench:   &bench{whole: whole, server: second, db: db2, table: fmt.Sprintf("new_mail_%d", i), log: &test.Log{}},
				cluster: cluster, first: first, db1: db1, outcome: make(chan error, 1),
			}
			g.create(t)
			cluster.AwaitTable(t, g.table)
			second.Exec(t, "ALTER TABLE mail."+g.table+" ADD UNIQUE (`to`)")
			cluster.AwaitTable(t, g.table) // a node that changes it shows no columns
			defer func() {
				if t.Failed() {
					t.Logf("%s\n%s", g.log, first.Output())
				}
			}()
			tt.run(t, g)
			cluster.AwaitSize(t, first, 3)
		})
	}
}

// start opens a store on all nodes, the first in front, by an address.
func (g *galera) start(t *testing.T, first string) *mysql.Store {
	t.Helper()
	s := g.open(t, func(o *mysql.Options) {
		o.Hosts = []string{first, g.cluster.Nodes[1].Addr, g.cluster.Nodes[2].Addr}
		o.Timeout = time.Minute
	})
	t.Cleanup(func() { s.Close() })
	if err := save(t, s, "other@example.com")[0]; err != nil {
		t.Fatal(err)
	}
	return s
}

// hold has an INSERT wait on the first node.
func (g *galera) hold(t *testing.T) *mysql.Store {
	t.Helper()
	s := g.start(t, g.first.Addr)
	g.blocker = block(t, g.db1, g.table)
	go func() { g.outcome <- save(t, s, "b@example.com")[0] }()
	test.Await(t, nil, 5*time.Second, "no INSERT waits", func() error {
		var id int64
		return g.db1.QueryRow("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'INSERT INTO%' AND USER='goguerrilla'").Scan(&id)
	})
	return s
}

// swallow has an INSERT committed of which the store does not hear.
func (g *galera) swallow(t *testing.T) *mysql.Store {
	t.Helper()
	proxy := mysqlproxy.Start(t, g.first.Addr)
	s := g.start(t, proxy.Addr)
	proxy.Once("VALUES", mysqlproxy.Fault{Part: 2, Hang: true})
	go func() { g.outcome <- save(t, s, "b@example.com")[0] }()
	test.Await(t, nil, 10*time.Second, "the mail does not get through", func() error {
		if n := g.count(t); n != 2 {
			return fmt.Errorf("%d rows", n)
		}
		return nil
	})
	return s
}

// count returns the rows that the second node has, caught up.
func (g *galera) count(t *testing.T) (n int) {
	t.Helper()
	tx, err := g.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	if _, err := tx.ExecContext(t.Context(), "SET SESSION wsrep_sync_wait=1"); err != nil {
		t.Fatal(err)
	}
	if err := tx.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+g.table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// isStored wants the mail stored once, and told so.
func (g *galera) isStored(t *testing.T) {
	t.Helper()
	if err := <-g.outcome; err != nil {
		t.Errorf("outcome: %v", err)
	}
	if n := g.count(t); n != 2 {
		t.Errorf("%d rows", n)
	}
}

// galeraKilledBefore: the process is gone, and the others have not got the
// mail: when they have excluded it, the mail may be sent again.
func galeraKilledBefore(t *testing.T, g *galera) {
	g.hold(t)
	g.first.Kill()
	g.isStored(t)
	g.first.Start(g.whole)
}

// galeraKilledBehind: the others have got the mail.
func galeraKilledBehind(t *testing.T, g *galera) {
	g.swallow(t)
	g.first.Kill()
	g.isStored(t)
	g.first.Start(g.whole)
}

// galeraCutOffBefore: the node answers that the session is over, but has lost
// its cluster, so that others have to be asked for the mail.
func galeraCutOffBefore(t *testing.T, g *galera) {
	proxy := mysqlproxy.Start(t, g.first.Addr)
	s := g.start(t, proxy.Addr)
	cut := proxy.Once("VALUES", mysqlproxy.Fault{Part: 1, Hang: true})
	go func() { g.outcome <- save(t, s, "b@example.com")[0] }()
	<-cut
	g.cutOff(t)
}

// galeraCutOffBehind is the same for a mail that the others have got.
func galeraCutOffBehind(t *testing.T, g *galera) {
	g.swallow(t)
	g.cutOff(t)
}

func (g *galera) cutOff(t *testing.T) {
	t.Helper()
	g.first.Exec(t, "SET GLOBAL wsrep_provider_options='gmcast.isolate=1'")
	g.isStored(t)
	g.first.Exec(t, "SET GLOBAL wsrep_provider_options='gmcast.isolate=0'")
}

// galeraHungBefore: nobody can know what the node will do when it comes back.
// The mail is not sent again, and the log tells in the end what became of it.
func galeraHungBefore(t *testing.T, g *galera) {
	s := g.hold(t)
	g.first.Pause(t)
	if err := <-g.outcome; !errors.Is(err, savemail.ErrUnknown) {
		t.Errorf("outcome: %v", err)
	}
	if err := save(t, s, "next@example.com")[0]; err != nil {
		t.Errorf("the next mail: %v", err)
	}
	g.first.Continue(t)
	g.blocker.Rollback()
	told := func(text string) bool { return strings.Contains(g.log.String(), text) }
	test.Await(t, nil, 30*time.Second, "the outcome is not logged", func() error {
		if !told("outcome were stored") && !told("outcome are not in the table") {
			return errors.New(g.log.String())
		}
		return nil
	})
	g.cluster.AwaitSize(t, g.first, 3)
	if n := g.count(t); n != 2 && n != 3 || told("outcome were stored") != (n == 3) {
		t.Errorf("%d rows", n)
	}
}

// galeraHungBehind: what the others have got is there for good.
func galeraHungBehind(t *testing.T, g *galera) {
	g.swallow(t)
	g.first.Pause(t)
	g.isStored(t)
	g.first.Continue(t)
}
