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

// testConsumerEarly deletes a row between its commit and the look-up: the row
// is stored again with the same hash, by which a consumer knows it.
func testConsumerEarly(t *testing.T, b *bench) {
	b.create(t)
	proxy := mysqlproxy.Start(t, b.server.Addr)
	s := b.open(t, func(o *mysql.Options) { o.Hosts = []string{proxy.Addr} })
	defer s.Close()
	one(t, s, nil)
	b.server.Exec(t, "DELETE FROM mail."+b.table)
	var deleted []string
	cut := false
	proxy.Arm(func(statement string) *mysqlproxy.Fault {
		switch {
		case strings.Contains(statement, "VALUES (") && !cut:
			cut = true
			return &mysqlproxy.Fault{Part: 2, Delay: time.Millisecond} // committed, then the answer is lost
		case strings.HasPrefix(statement, "SELECT COUNT(*)"): // the session is over
			for _, row := range b.rows(t) {
				deleted = append(deleted, row.Hash)
			}
			b.server.Exec(t, "DELETE FROM mail."+b.table)
		}
		return nil
	})
	e := storetest.Envelope(text, "b@example.com")
	store(t, s, e)
	rows := b.rows(t)
	if len(rows) != 1 || rows[0].Hash != e.To[0].Hash {
		t.Errorf("rows %v, want the hash %s", rows, e.To[0].Hash)
	}
	if len(deleted) != 1 || deleted[0] != e.To[0].Hash {
		t.Errorf("deleted %v, want the hash %s", deleted, e.To[0].Hash)
	}
}

// testConsumerRule deletes rows at the age that the rule allows, while the
// server cannot be asked for longer than that: no hash is seen twice.
func testConsumerRule(t *testing.T, b *bench) {
	const timeout = 3 * time.Second
	b.create(t)
	proxy := mysqlproxy.Start(t, b.server.Addr)
	s := b.open(t, func(o *mysql.Options) { o.Hosts, o.Timeout = []string{proxy.Addr}, timeout })
	defer s.Close()
	one(t, s, nil)
	b.server.Exec(t, "DELETE FROM mail."+b.table)

	seen := map[string]int{}
	ctx, stop := context.WithCancel(t.Context())
	var consumer sync.WaitGroup
	consumer.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(50 * time.Millisecond) // a consumer's own interval
			for hash := range b.old(t, timeout) {
				seen[hash]++
				b.server.Exec(t, "DELETE FROM mail."+b.table+" WHERE hash='"+hash+"'")
			}
		}
	})
	defer func() {
		stop()
		consumer.Wait()
	}()
	begun := time.Now()
	cut := false
	proxy.Arm(func(statement string) *mysqlproxy.Fault {
		if strings.Contains(statement, "VALUES (") && !cut {
			cut = true
			return &mysqlproxy.Fault{Part: 2, Delay: time.Millisecond} // committed, then the answer is lost
		}
		if cut && time.Since(begun) < timeout+2*time.Second {
			return &mysqlproxy.Fault{Part: 0} // the server cannot be asked
		}
		return nil
	})
	e := storetest.Envelope(text, "b@example.com")
	err := s.Save(t.Context(), []*envelope.Envelope{e})[0]
	if !errors.Is(err, savemail.ErrUnknown) || time.Since(begun) > timeout {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	// Settled later, when the row was deleted by the rule.
	test.Await(t, nil, 15*time.Second, "the outcome is not logged", func() error {
		if !strings.Contains(b.log.String(), "outcome are not in the table") {
			return errors.New(b.log.String())
		}
		return nil
	})
	time.Sleep(timeout + time.Second) // whatever was sent again would be old by now
	stop()
	consumer.Wait()
	if seen[e.To[0].Hash] != 1 || len(b.rows(t)) != 0 {
		t.Errorf("the consumer has seen %v, %d rows are left", seen, len(b.rows(t)))
	}
}

// old returns the hashes of the rows that a consumer may delete.
func (b *bench) old(t *testing.T, age time.Duration) map[string]bool {
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
