package mysql_test

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/mysqlproxy"
	"goguerrillad/internal/test/storetest"
)

// A lostInsert is an INSERT that waits for a row lock in the server, although its
// connection is lost.
type lostInsert struct {
	*testbed
	blocker *sql.Tx // blocks the INSERT
	outcome chan error
	lostID  int64 // id of the lost session
}

// loseInsert sends an INSERT that waits for a row lock, and cuts its connection.
func loseInsert(t *testing.T, b *testbed) *lostInsert {
	t.Helper()
	b.create(t)
	proxy := mysqlproxy.Start(t, b.server.Addr)
	s := b.open(t, func(o *mysql.Options) { o.Hosts = []string{proxy.Addr} })
	t.Cleanup(func() { s.Close() })
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" ADD UNIQUE (`to`)")
	saveOne(t, s, nil)
	if _, err := b.db.Exec("DELETE FROM " + b.table); err != nil {
		t.Fatal(err)
	}
	l := &lostInsert{testbed: b, blocker: block(t, b.db, b.table), outcome: make(chan error, 1)}
	cut := proxy.Once("VALUES", mysqlproxy.Fault{Part: 2})
	go func() { l.outcome <- save(t, s, "b@example.com")[0] }()
	<-cut
	test.Await(t, nil, 5*time.Second, "no waiting INSERT", func() (err error) {
		l.lostID, err = l.sessionID("INFO LIKE 'INSERT INTO%'")
		return err
	})
	return l
}

// block begins a transaction that blocks every INSERT of a message for
// b@example.com, if the column to is unique.
func block(t *testing.T, db *sql.DB, table string) *sql.Tx {
	t.Helper()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback() })
	if _, err := tx.Exec("INSERT INTO " + table + " (`to`,`date`,`from`,subject,body,charset,mail,spam_score,hash,content_type,recipient,has_attach,ip_addr,attach_info)" +
		" VALUES ('b@example.com',NOW(),'','','','','',0,'','','',0,'','')"); err != nil {
		t.Fatal(err)
	}
	return tx
}

// sessionID returns the id of the session that meets the condition.
func (l *lostInsert) sessionID(condition string) (id int64, err error) {
	err = l.db.QueryRow("SELECT ID FROM information_schema.PROCESSLIST WHERE USER='goguerrilla' AND " + condition).Scan(&id)
	return id, err
}

// checkStored stops blocking, and requires that the message is stored once.
func (l *lostInsert) checkStored(t *testing.T) {
	t.Helper()
	if err := l.blocker.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-l.outcome; err != nil {
		t.Errorf("outcome %v, want nil", err)
	}
	if rows := l.rows(t); len(rows) != 1 {
		t.Errorf("%d rows, want 1", len(rows))
	}
}

// testLostWaits: the store waits for a statement that continues without its
// connection. Without the wait, it would not find the row and would store it twice.
func testLostWaits(t *testing.T, b *testbed) {
	l := loseInsert(t, b)
	test.Await(t, nil, 5*time.Second, "no session waits for the lock", func() error {
		_, err := l.sessionID("INFO LIKE 'SELECT GET_LOCK%'")
		return err
	})
	l.checkStored(t)
}

// testLostKilled: the store kills a statement that does not end, before it sends
// the message again.
func testLostKilled(t *testing.T, b *testbed) {
	l := loseInsert(t, b)
	test.Await(t, nil, 10*time.Second, "the session is not killed", func() error {
		if id, err := l.sessionID("INFO LIKE 'INSERT INTO%'"); err != nil || id == l.lostID {
			return fmt.Errorf("the INSERT is in session %d, the lost session is %d: %w", id, l.lostID, err)
		}
		return nil
	})
	l.checkStored(t)
}

// testLostUnknown: an outcome that is unknown at the deadline is settled later and
// logged, even after a reload has replaced the store.
func testLostUnknown(t *testing.T, b *testbed) {
	b.create(t)
	proxy := mysqlproxy.Start(t, b.server.Addr)
	s := b.open(t, func(o *mysql.Options) { o.Hosts, o.Timeout = []string{proxy.Addr}, 3*time.Second })
	c := commit.New(s, commit.Options{Timeout: 3 * time.Second, Log: b.options().Log})
	outcome := make(chan error, 1)
	submit := func() { c.Submit(storetest.Envelope(text, "b@example.com"), func(err error) { outcome <- err }) }
	if submit(); <-outcome != nil {
		t.Fatal(b.log.String())
	}
	cut := proxy.Once("VALUES", mysqlproxy.Fault{Part: 2, Hang: true})
	submit()
	<-cut
	test.Await(t, nil, 5*time.Second, "the message is not stored", func() error {
		var n int
		if err := b.db.QueryRow("SELECT COUNT(*) FROM " + b.table).Scan(&n); err != nil || n != 2 {
			return fmt.Errorf("%d rows, want 2: %w", n, err)
		}
		return nil
	})
	b.server.Pause(t)
	err := <-outcome
	c.Swap(b.open(t, nil), commit.Options{Log: b.options().Log})
	b.server.Continue(t)
	if err == nil || !strings.Contains(err.Error(), "unknown") {
		t.Errorf("outcome %v, want unknown", err)
	}
	test.Await(t, nil, 10*time.Second, "the outcome is not logged", func() error {
		if !strings.Contains(b.log.String(), "outcome were stored") {
			return errors.New(b.log.String())
		}
		return nil
	})
	if err := c.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}
