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

// A lost is a mail whose INSERT the server has got, and is held up at, while
// the connection is gone.
type lost struct {
	*bench
	blocker *sql.Tx // what holds it up
	outcome chan error
	first   int64 // the session's id
}

// lose cuts the connection behind an INSERT that waits for a row lock.
func lose(t *testing.T, b *bench) *lost {
	t.Helper()
	b.create(t)
	proxy := mysqlproxy.Start(t, b.server.Addr)
	s := b.open(t, func(o *mysql.Options) { o.Hosts = []string{proxy.Addr} })
	t.Cleanup(func() { s.Close() })
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" ADD UNIQUE (`to`)")
	one(t, s, nil)
	if _, err := b.db.Exec("DELETE FROM " + b.table); err != nil {
		t.Fatal(err)
	}
	l := &lost{bench: b, blocker: block(t, b.db, b.table), outcome: make(chan error, 1)}
	cut := proxy.Once("VALUES", mysqlproxy.Fault{Part: 2})
	go func() { l.outcome <- save(t, s, "b@example.com")[0] }()
	<-cut
	test.Await(t, nil, 5*time.Second, "no INSERT waits", func() (err error) {
		l.first, err = l.session("INFO LIKE 'INSERT INTO%'")
		return err
	})
	return l
}

// block begins a transaction that holds up each INSERT of a mail to
// b@example.com, where the column to is unique.
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

// session returns the id of the one session for which the condition holds.
func (l *lost) session(condition string) (id int64, err error) {
	err = l.db.QueryRow("SELECT ID FROM information_schema.PROCESSLIST WHERE USER='goguerrilla' AND " + condition).Scan(&id)
	return id, err
}

// isStored ends the hold-up and wants the mail in the table, once.
func (l *lost) isStored(t *testing.T) {
	t.Helper()
	if err := l.blocker.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-l.outcome; err != nil {
		t.Errorf("outcome: %v", err)
	}
	if rows := l.rows(t); len(rows) != 1 {
		t.Errorf("%d rows", len(rows))
	}
}

// testLostWaits: a statement that goes on without its connection is waited
// for. Who looks for the row at once does not find it, and stores it twice.
func testLostWaits(t *testing.T, b *bench) {
	l := lose(t, b)
	test.Await(t, nil, 5*time.Second, "nobody waits for the session", func() error {
		_, err := l.session("INFO LIKE 'SELECT GET_LOCK%'")
		return err
	})
	l.isStored(t)
}

// testLostKilled: a statement that does not end is killed, and only then sent
// again.
func testLostKilled(t *testing.T, b *bench) {
	l := lose(t, b)
	test.Await(t, nil, 10*time.Second, "the session is not killed", func() error {
		if id, err := l.session("INFO LIKE 'INSERT INTO%'"); err != nil || id == l.first {
			return fmt.Errorf("session %d inserts, %d did before: %w", id, l.first, err)
		}
		return nil
	})
	l.isStored(t)
}

// testLostUnknown: what cannot be settled in time is settled later, also when a
// reload has put another store in place, and the log says how.
func testLostUnknown(t *testing.T, b *bench) {
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
	test.Await(t, nil, 5*time.Second, "the INSERT does not arrive", func() error {
		var n int
		if err := b.db.QueryRow("SELECT COUNT(*) FROM " + b.table).Scan(&n); err != nil || n != 2 {
			return fmt.Errorf("%d rows, %w", n, err)
		}
		return nil
	})
	b.server.Pause(t)
	err := <-outcome
	c.Swap(b.open(t, nil), commit.Options{Log: b.options().Log})
	b.server.Continue(t)
	if err == nil || !strings.Contains(err.Error(), "unknown") {
		t.Errorf("outcome: %v", err)
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
