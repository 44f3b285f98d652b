package mysql_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/mysqlproxy"
	"goguerrillad/internal/test/servers"
	"goguerrillad/internal/test/storetest"
)

// manyRecipients returns an envelope with 60 recipients, of which last is the
// last. Its rows need two statements, and therefore a transaction.
func manyRecipients(last string) *envelope.Envelope {
	var to []string
	for i := range 59 {
		to = append(to, fmt.Sprintf("u%d@example.com", i))
	}
	return storetest.Envelope(text, append(to, last)...)
}

// testTransaction: if the last statement of a batch fails, no row is stored.
func testTransaction(t *testing.T, b *testbed) {
	b.create(t)
	s := b.open(t, nil)
	defer s.Close()
	saveOne(t, s, nil)
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" ADD UNIQUE (`to`)")
	if err := s.Save(t.Context(), []*envelope.Envelope{manyRecipients("b@example.com")})[0]; !errors.Is(err, savemail.ErrRejected) {
		t.Errorf("with a duplicate: outcome %v, want %v", err, savemail.ErrRejected)
	}
	if rows := b.rows(t); len(rows) != 1 {
		t.Errorf("with a duplicate: %d rows, want 1", len(rows))
	}
	if err := s.Save(t.Context(), []*envelope.Envelope{manyRecipients("z@example.com")})[0]; err != nil {
		t.Errorf("without a duplicate: outcome %v, want nil", err)
	}
	if rows := b.rows(t); len(rows) != 61 {
		t.Errorf("without a duplicate: %d rows, want 61", len(rows))
	}
}

// testLostCommit: if the connection ends before, during or after COMMIT, the
// message is stored once.
func testLostCommit(t *testing.T, b *testbed) {
	b.create(t)
	proxy := mysqlproxy.Start(t, b.server.Addr)
	s := b.open(t, func(o *mysql.Options) { o.Hosts = []string{proxy.Addr} })
	defer s.Close()
	for i, f := range mysqlproxy.Faults() {
		cut := proxy.Once("COMMIT", f)
		if err := s.Save(t.Context(), []*envelope.Envelope{manyRecipients("z@example.com")})[0]; err != nil {
			t.Errorf("%s: outcome %v, want nil", f.Name, err)
		}
		select {
		case <-cut:
		default:
			t.Fatalf("%s: no COMMIT was sent", f.Name)
		}
		if rows := b.rows(t); len(rows) != 60*(i+1) {
			t.Fatalf("%s: %d rows, want %d", f.Name, len(rows), 60*(i+1))
		}
	}
}

// testOtherServer: another server at the same address cannot settle the outcome,
// so the store does not send the message again.
func testOtherServer(t *testing.T, b *testbed) {
	b.create(t)
	server := servers.MariaDB(t)
	other := &testbed{parent: t, server: server, db: server.Connect(t), table: b.table}
	other.create(t)
	proxy := mysqlproxy.Start(t, b.server.Addr)
	s := b.open(t, func(o *mysql.Options) {
		o.Hosts, o.User, o.Pass, o.Timeout = []string{proxy.Addr}, server.User, server.Pass, 3*time.Second
	})
	defer s.Close()
	saveOne(t, s, nil)
	proxy.Arm(func(statement string) *mysqlproxy.Fault {
		if !strings.Contains(statement, "VALUES") {
			return nil
		}
		proxy.Move(server.Addr)
		return &mysqlproxy.Fault{Part: 2}
	})
	saveOne(t, s, savemail.ErrUnknown)
	proxy.Move(b.server.Addr)
	test.Await(t, nil, 10*time.Second, "the outcome is not logged", func() error {
		if !strings.Contains(b.log.String(), "messages with unknown outcome were stored") {
			return errors.New(b.log.String())
		}
		return nil
	})
	if first, second := b.rows(t), other.rows(t); len(first) != 2 || len(second) != 0 {
		t.Errorf("%d rows on the first server, %d on the second, want 2 and 0", len(first), len(second))
	}
}
