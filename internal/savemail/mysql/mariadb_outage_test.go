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

// testLockTimeout: an INSERT that waits for a row lock longer than
// innodb_lock_wait_timeout does not store the message.
func testLockTimeout(t *testing.T, b *testbed) {
	b.create(t)
	b.global(t, "innodb_lock_wait_timeout", "1", "50")
	s := b.open(t, nil)
	defer s.Close()
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" ADD UNIQUE (`to`)")
	tx := block(t, b.db, b.table)
	saveOne(t, s, savemail.ErrUnavailable)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	saveOne(t, s, nil)
}

// testKilledConnection: after the server has closed the idle connections, the store
// stores the next message.
func testKilledConnection(t *testing.T, b *testbed) {
	b.create(t)
	s := b.open(t, nil)
	defer s.Close()
	for range 3 {
		saveOne(t, s, nil)
		test.Await(t, nil, 10*time.Second, "the connections do not end", func() error {
			if n := b.killSessions(t); n > 0 {
				return fmt.Errorf("%d sessions", n)
			}
			return nil
		})
	}
	if rows := b.rows(t); len(rows) != 3 {
		t.Errorf("%d rows, want 3", len(rows))
	}
}

// testPaused: if the server hangs, the outcome of a Save is unknown, the next Save
// is unavailable, and a Check returns at its deadline.
func testPaused(t *testing.T, b *testbed) {
	b.create(t)
	short := func(o *mysql.Options) { o.Timeout = 3 * time.Second }
	s := b.open(t, short)
	defer s.Close()
	saveOne(t, s, nil)
	b.server.Pause(t)
	unpause := sync.OnceFunc(func() { b.server.Continue(t) })
	defer unpause()
	saveOne(t, s, savemail.ErrUnknown)
	saveOne(t, s, savemail.ErrUnavailable)
	fresh := b.open(t, short)
	defer fresh.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := fresh.Check(ctx); !errors.Is(err, savemail.ErrUnavailable) {
		t.Errorf("Check: %v, want ErrUnavailable", err)
	}
	unpause()
	awaitRecovery(t, s)
}
