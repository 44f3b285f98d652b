package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test"
)

// Another session's lock is waited for, and then the mail is not stored.
func testLockWait(t *testing.T, b *bench) {
	b.create(t)
	b.global(t, "innodb_lock_wait_timeout", "1", "50")
	s := b.open(t, nil)
	defer s.Close()
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" ADD UNIQUE (`to`)")
	tx, err := b.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("INSERT INTO " + b.table + " (`to`,`date`,`from`,subject,body,charset,mail,spam_score,hash,content_type,recipient,has_attach,ip_addr,attach_info)" +
		" VALUES ('b@example.com',NOW(),'','','','','',0,'','','',0,'','')"); err != nil {
		t.Fatal(err)
	}
	one(t, s, savemail.ErrUnavailable)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	one(t, s, nil)
}

// A connection that was closed while idle costs no mail.
func testKilledConnection(t *testing.T, b *bench) {
	b.create(t)
	s := b.open(t, nil)
	defer s.Close()
	for range 3 {
		one(t, s, nil)
		test.Await(t, nil, 10*time.Second, "the connections do not end", func() error {
			return b.killOthers(t)
		})
	}
	if rows := b.rows(t); len(rows) != 3 {
		t.Errorf("%d rows", len(rows))
	}
}

// killOthers kills all connections of the daemon's user, and is nil when there
// are none left.
func (b *bench) killOthers(t *testing.T) error {
	rows, err := b.db.Query("SELECT ID FROM information_schema.PROCESSLIST WHERE USER='goguerrilla'")
	if err != nil {
		return err
	}
	defer rows.Close()
	var left error
	for rows.Next() {
		var id int
		if err := rows.Scan(&id); err != nil {
			return err
		}
		left = fmt.Errorf("%d is left", id)
		if _, err := b.db.Exec(fmt.Sprintf("KILL %d", id)); err != nil {
			left = err // it may have ended by itself
		}
	}
	return errors.Join(left, rows.Err())
}

// A server that hangs costs the time of one answer, and its outcome is
// unknown; connecting to it costs no more.
func testPaused(t *testing.T, b *bench) {
	b.create(t)
	short := func(o *mysql.Options) { o.Timeout = 3 * time.Second }
	s := b.open(t, short)
	defer s.Close()
	one(t, s, nil)
	b.server.Pause(t)
	unpause := sync.OnceFunc(func() { b.server.Continue(t) })
	defer unpause()
	one(t, s, savemail.ErrUnknown)
	one(t, s, savemail.ErrUnavailable)
	fresh := b.open(t, short)
	defer fresh.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := fresh.Check(ctx); !errors.Is(err, savemail.ErrUnavailable) {
		t.Errorf("Check: %v", err)
	}
	unpause()
	awaitSave(t, s)
}
