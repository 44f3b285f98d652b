package mysql_test

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/mysqlproxy"
	"goguerrillad/internal/test/servers"
)

// A galera is a cluster of three nodes, of which the first fails during a commit.
type galera struct {
	*testbed // of the second node
	cluster  *servers.Galera
	first    *servers.MariaDBServer
	db1      *sql.DB // of the first node
	blocker  *sql.Tx // blocks the INSERT on the first node
	outcome  chan error
}

// TestGalera: if a node fails during a commit, the other nodes settle the message.
func TestGalera(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Galera cluster")
	}
	cluster := servers.StartGalera(t, 3, servers.Quick)
	first, second := cluster.Nodes[0], cluster.Nodes[1]
	db1, db2 := first.Connect(t), second.Connect(t)
	parent := t
	for i, tt := range []struct {
		name string
		run  func(*testing.T, *galera)
	}{
		{"killed before the commit", galeraKilledBefore},
		{"killed after the commit", galeraKilledAfter},
		{"cut off before the commit", galeraCutOffBefore},
		{"cut off after the commit", galeraCutOffAfter},
		{"hung before the commit", galeraHungBefore},
		{"hung after the commit", galeraHungAfter},
		{"expire on two nodes", galeraExpire},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := &galera{
				testbed: &testbed{parent: parent, server: second, db: db2, table: fmt.Sprintf("new_mail_%d", i), log: &test.Log{}},
				cluster: cluster, first: first, db1: db1, outcome: make(chan error, 1),
			}
			g.create(t)
			cluster.AwaitTable(t, g.table)
			second.Exec(t, "ALTER TABLE mail."+g.table+" ADD UNIQUE (`to`)")
			cluster.AwaitTable(t, g.table) // during the change a node shows no columns
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

// start opens a store on all nodes, with the given address of the first node.
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

// blockInsert sends a message whose INSERT waits on the first node.
func (g *galera) blockInsert(t *testing.T) *mysql.Store {
	t.Helper()
	s := g.start(t, g.first.Addr)
	g.blocker = block(t, g.db1, g.table)
	go func() { g.outcome <- save(t, s, "b@example.com")[0] }()
	test.Await(t, nil, 5*time.Second, "no waiting INSERT", func() error {
		var id int64
		return g.db1.QueryRow("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'INSERT INTO%' AND USER='goguerrilla'").Scan(&id)
	})
	return s
}

// loseReply sends a message that is committed, and drops the server's reply.
func (g *galera) loseReply(t *testing.T) *mysql.Store {
	t.Helper()
	proxy := mysqlproxy.Start(t, g.first.Addr)
	s := g.start(t, proxy.Addr)
	proxy.Once("VALUES", mysqlproxy.Fault{Part: 2, Hang: true})
	go func() { g.outcome <- save(t, s, "b@example.com")[0] }()
	test.Await(t, nil, 10*time.Second, "the message is not stored", func() error {
		if n := g.count(t); n != 2 {
			return fmt.Errorf("%d rows, want 2", n)
		}
		return nil
	})
	return s
}

// count returns the number of rows on the second node after it has caught up.
func (g *galera) count(t *testing.T) (n int) {
	t.Helper()
	conn, err := g.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "SET SESSION wsrep_sync_wait=1"); err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+g.table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// checkStored requires that the message is stored once and its outcome is nil.
func (g *galera) checkStored(t *testing.T) {
	t.Helper()
	if err := <-g.outcome; err != nil {
		t.Errorf("outcome %v, want nil", err)
	}
	if n := g.count(t); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

// galeraKilledBefore: the node's process has ended, and the other nodes do not
// have the message. The store sends it again when they have excluded the node.
func galeraKilledBefore(t *testing.T, g *galera) {
	g.blockInsert(t)
	g.first.Kill()
	g.checkStored(t)
	g.first.Start(g.parent)
}

// galeraKilledAfter: the node's process has ended, and the other nodes have the
// message.
func galeraKilledAfter(t *testing.T, g *galera) {
	g.loseReply(t)
	g.first.Kill()
	g.checkStored(t)
	g.first.Start(g.parent)
}

// galeraCutOffBefore: the node reports that the session has ended, but it has
// lost its cluster, so the store looks up the message on another node.
func galeraCutOffBefore(t *testing.T, g *galera) {
	proxy := mysqlproxy.Start(t, g.first.Addr)
	s := g.start(t, proxy.Addr)
	cut := proxy.Once("VALUES", mysqlproxy.Fault{Part: 1, Hang: true})
	go func() { g.outcome <- save(t, s, "b@example.com")[0] }()
	<-cut
	g.cutOff(t)
}

// galeraCutOffAfter: the node has lost its cluster, and the other nodes have the
// message.
func galeraCutOffAfter(t *testing.T, g *galera) {
	g.loseReply(t)
	g.cutOff(t)
}

func (g *galera) cutOff(t *testing.T) {
	t.Helper()
	g.first.Isolate(t, true)
	g.checkStored(t)
	g.first.Isolate(t, false)
}

// galeraHungBefore: the node may still commit the message. The store does not send
// it again, and logs the outcome later.
func galeraHungBefore(t *testing.T, g *galera) {
	s := g.blockInsert(t)
	g.first.Pause(t)
	if err := <-g.outcome; !errors.Is(err, savemail.ErrUnknown) {
		t.Errorf("outcome %v, want %v", err, savemail.ErrUnknown)
	}
	if err := save(t, s, "next@example.com")[0]; err != nil {
		t.Errorf("next message: outcome %v, want nil", err)
	}
	g.first.Continue(t)
	g.blocker.Rollback()
	logged := func(text string) bool { return strings.Contains(g.log.String(), text) }
	test.Await(t, nil, 30*time.Second, "the outcome is not logged", func() error {
		if !logged("outcome were stored") && !logged("outcome are not in the table") {
			return errors.New(g.log.String())
		}
		return nil
	})
	g.cluster.AwaitSize(t, g.first, 3)
	if n := g.count(t); n != 2 && n != 3 || logged("outcome were stored") != (n == 3) {
		t.Errorf("%d rows, logged as stored: %v", n, logged("outcome were stored"))
	}
}

// galeraHungAfter: the node hangs, and the other nodes have the message.
func galeraHungAfter(t *testing.T, g *galera) {
	g.loseReply(t)
	g.first.Pause(t)
	g.checkStored(t)
	g.first.Continue(t)
}

// galeraExpire: daemons that delete on different nodes, whose user locks are independent,
// conflict at most, and delete all old rows and no other. A pass may leave old rows to the next
// pass: it takes rows that the other daemon has deleted meanwhile for rows that stay.
func galeraExpire(t *testing.T, g *galera) {
	g.server.GrantDelete(t, g.table)
	const old, recent = 300, 20
	g.server.Exec(t, "ALTER TABLE mail."+g.table+" DROP KEY `to_2`")
	s := g.start(t, g.first.Addr)
	saveAt(t, s, old+recent-1, time.Now()) // and the message of start
	g.server.Exec(t, fmt.Sprintf("UPDATE mail.%s SET `date`=`date`-INTERVAL 2 DAY ORDER BY mail_id LIMIT %d", g.table, old))
	var daemons sync.WaitGroup
	for _, node := range g.cluster.Nodes[:2] {
		s := g.open(t, func(o *mysql.Options) { o.Hosts = []string{node.Addr} })
		defer s.Close()
		daemons.Go(func() {
			test.Await(t, nil, time.Minute, "old rows are left", func() error {
				e, err := s.Expire(t.Context(), time.Now().Add(-time.Hour))
				switch {
				case errors.Is(err, savemail.ErrUnavailable): // a conflict
				case err != nil:
					t.Error(err)
				}
				if n := g.count(t); err == nil && (e.More || e.Rows > 0 || n > recent) {
					err = fmt.Errorf("%d rows", n)
				}
				return err
			})
		})
	}
	daemons.Wait()
	if n := g.count(t); n != recent {
		t.Errorf("%d rows are left, want %d", n, recent)
	}
}
