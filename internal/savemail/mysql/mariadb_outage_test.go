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
	"goguerrillad/internal/savemail/storetest"
	"goguerrillad/internal/testserver"
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
		testserver.Await(t, nil, 10*time.Second, "the connections do not end", func() error {
			return b.killOthers(t)
		})
	}
	if rows := b.rows(t); len(rows) != 3 {
		t.Errorf("%d rows", len(rows))
	}
}

// killOthers kills all connections of the user but its own, and is nil when
// there is none left.
func (b *bench) killOthers(t *testing.T) error {
	rows, err := b.db.Query("SELECT ID FROM information_schema.PROCESSLIST WHERE ID<>CONNECTION_ID()")
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
		b.server.Exec(t, fmt.Sprintf("KILL SOFT CONNECTION %d", id))
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

// The server dies and comes back while mail streams in: what was acknowledged
// is there, and nothing is there twice.
func testKilledUnderLoad(t *testing.T, b *bench) {
	b.create(t)
	s := b.open(t, nil)
	c := savemail.New(s, savemail.Options{Writers: 2, Timeout: 9 * time.Second, Log: b.options().Log})
	var mu sync.Mutex
	acknowledged, failed := map[string]bool{}, 0
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for client := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				e := storetest.Envelope(text, fmt.Sprintf("u%d.%d@example.com", client, n))
				outcome := make(chan error, 1)
				c.Submit(e, func(err error) { outcome <- err })
				err := <-outcome
				mu.Lock()
				if err == nil {
					acknowledged[e.To[0].Hash] = true
				} else {
					failed++
				}
				mu.Unlock()
				if err != nil {
					time.Sleep(20 * time.Millisecond) // as a client that is told to come later
				}
			}
		})
	}
	progress := func(more int) {
		mu.Lock()
		want := len(acknowledged) + more
		mu.Unlock()
		testserver.Await(t, nil, 60*time.Second, "no progress", func() error {
			mu.Lock()
			defer mu.Unlock()
			if len(acknowledged) < want {
				return fmt.Errorf("%d acknowledged, want %d", len(acknowledged), want)
			}
			return nil
		})
	}
	for range 3 {
		progress(200)
		b.server.Kill()
		b.server.Start(t)
	}
	progress(200)
	close(stop)
	wg.Wait()
	if err := c.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	seen := map[string]int{}
	for _, row := range b.rows(t) {
		seen[row.Hash]++
	}
	for hash := range acknowledged {
		if seen[hash] != 1 {
			t.Errorf("%s was acknowledged and is there %d times", hash, seen[hash])
		}
	}
	for hash, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", hash, n)
		}
	}
	t.Logf("%d acknowledged, %d failed, %d rows\n%s", len(acknowledged), failed, len(seen), b.log)
}
