package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/mysqlproxy"
	"goguerrillad/internal/test/storetest"
)

// testConsumerEarly deletes a row between its commit and the lookup. The store
// sends the row again with the same hash, by which a consumer can recognise it.
func testConsumerEarly(t *testing.T, b *testbed) {
	b.create(t)
	proxy := mysqlproxy.Start(t, b.server.Addr)
	s := b.open(t, func(o *mysql.Options) { o.Hosts = []string{proxy.Addr} })
	defer s.Close()
	saveOne(t, s, nil)
	b.server.Exec(t, "DELETE FROM mail."+b.table)
	var deleted []string
	cut := false
	proxy.Arm(func(statement string) *mysqlproxy.Fault {
		switch {
		case strings.Contains(statement, "VALUES (") && !cut:
			cut = true
			return &mysqlproxy.Fault{Part: 2, Delay: time.Millisecond} // committed, then the connection is lost
		case strings.HasPrefix(statement, "SELECT COUNT(*)"): // the session has ended
			for _, row := range b.rows(t) {
				deleted = append(deleted, row.Hash)
			}
			b.server.Exec(t, "DELETE FROM mail."+b.table)
		}
		return nil
	})
	e := storetest.Envelope(text, "b@example.com")
	mustSave(t, s, e)
	rows := b.rows(t)
	if len(rows) != 1 || rows[0].Hash != e.To[0].Hash {
		t.Errorf("rows %v, want one with the hash %s", rows, e.To[0].Hash)
	}
	if len(deleted) != 1 || deleted[0] != e.To[0].Hash {
		t.Errorf("deleted hashes %v, want %s", deleted, e.To[0].Hash)
	}
}

// testConsumerRule deletes rows as early as the rule for consumers allows, while the
// store cannot reach the server for a longer time. No hash is stored twice.
func testConsumerRule(t *testing.T, b *testbed) {
	const timeout = 3 * time.Second
	b.create(t)
	proxy := mysqlproxy.Start(t, b.server.Addr)
	s := b.open(t, func(o *mysql.Options) { o.Hosts, o.Timeout = []string{proxy.Addr}, timeout })
	defer s.Close()
	saveOne(t, s, nil)
	b.server.Exec(t, "DELETE FROM mail."+b.table)

	seen := map[string]int{}
	ctx, stop := context.WithCancel(t.Context())
	var consumer sync.WaitGroup
	consumer.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(50 * time.Millisecond) // the consumer's interval
			for hash := range b.olderThan(t, timeout) {
				seen[hash]++
				b.server.Exec(t, "DELETE FROM mail."+b.table+" WHERE hash='"+hash+"'")
			}
		}
	})
	defer func() {
		stop()
		consumer.Wait()
	}()
	start := time.Now()
	cut := false
	proxy.Arm(func(statement string) *mysqlproxy.Fault {
		if strings.Contains(statement, "VALUES (") && !cut {
			cut = true
			return &mysqlproxy.Fault{Part: 2, Delay: time.Millisecond} // committed, then the connection is lost
		}
		if cut && time.Since(start) < timeout+2*time.Second {
			return &mysqlproxy.Fault{Part: 0} // the server cannot be reached
		}
		return nil
	})
	e := storetest.Envelope(text, "b@example.com")
	err := s.Save(t.Context(), []*envelope.Envelope{e})[0]
	if took := time.Since(start); !errors.Is(err, savemail.ErrUnknown) || took > timeout {
		t.Errorf("outcome %v after %v, want %v within %v", err, took, savemail.ErrUnknown, timeout)
	}
	// The outcome is settled after the consumer has deleted the row.
	test.Await(t, nil, 15*time.Second, "the outcome is not logged", func() error {
		if !strings.Contains(b.log.String(), "outcome are not in the table") {
			return errors.New(b.log.String())
		}
		return nil
	})
	time.Sleep(timeout + time.Second) // the consumer would now delete a row that was sent again
	stop()
	consumer.Wait()
	if n, rows := seen[e.To[0].Hash], b.rows(t); n != 1 || len(rows) != 0 {
		t.Errorf("the consumer read the hash %d times, and %d rows are left, want 1 and 0", n, len(rows))
	}
}

// olderThan returns the hashes of the rows whose date is older than age.
func (b *testbed) olderThan(t *testing.T, age time.Duration) map[string]bool {
	t.Helper()
	rows, err := b.db.Query(fmt.Sprintf("SELECT hash FROM %s WHERE date < NOW() - INTERVAL %d SECOND", b.table, int(age.Seconds())))
	if err != nil {
		t.Error(err)
		return nil
	}
	defer rows.Close()
	hashes := map[string]bool{}
	for rows.Next() {
		var hash string
		if err := rows.Scan(&hash); err != nil {
			t.Error(err)
		}
		hashes[hash] = true
	}
	return hashes
}
