package postgres_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/postgres"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/pgproxy"
	"goguerrillad/internal/test/storetest"
)

const text = "Subject: hello\r\n\r\nbody\r\n"

// save saves one message and returns its envelope and its outcome.
func save(t *testing.T, s *postgres.Store) (*envelope.Envelope, error) {
	t.Helper()
	e := storetest.Envelope(text, "b@example.com")
	return e, s.Save(t.Context(), []*envelope.Envelope{e})[0]
}

// through opens a store that connects through a proxy.
func (b *testbed) through(t *testing.T) (*postgres.Store, *pgproxy.Proxy) {
	t.Helper()
	proxy := pgproxy.Start(t, b.server.Addr)
	s := b.open(t, func(o *postgres.Options) { o.DSN = b.server.DSN(proxy.Addr) })
	t.Cleanup(func() { s.Close() })
	return s, proxy
}

// statements are the requests of a batch: READ COMMITTED contains COMMIT.
var statements = map[string]pgproxy.Match{
	"INSERT": pgproxy.Executes("VALUES ("), // not the INSERT without a row
	"COMMIT": func(r pgproxy.Request) bool { return slices.Contains(r.Executed, "COMMIT") },
}

// testCuts ends the connection in every possible way in the INSERT and in the COMMIT. Since the
// server can be asked, each message is stored once and acknowledged.
func testCuts(t *testing.T, b *testbed) {
	s, proxy := b.through(t)
	if _, err := save(t, s); err != nil { // prepares the INSERT
		t.Fatal(err)
	}
	saved := 1
	for statement, match := range statements {
		exchange := proxy.Record(match)
		if _, err := save(t, s); err != nil {
			t.Fatal(err)
		}
		saved++
		faults := pgproxy.Cuts(<-exchange)
		for _, f := range faults {
			happened := proxy.Once(match, f)
			_, err := save(t, s)
			saved++
			if err != nil {
				t.Errorf("%s: %s: %v", statement, f.Name, err)
			}
			<-happened
		}
		t.Logf("%s: %d cuts", statement, len(faults))
	}
	hashes := map[string]bool{}
	for _, r := range b.rows(t) {
		hashes[r.Hash] = true
	}
	if rows := len(b.rows(t)); rows != saved || len(hashes) != saved {
		t.Errorf("%d rows with %d hashes, want %d", rows, len(hashes), saved)
	}
}

// testMalformed: a malformed response never makes the store acknowledge a message that is not
// stored, and never stores one twice.
func testMalformed(t *testing.T, b *testbed) {
	s, proxy := b.through(t)
	if _, err := save(t, s); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[string]error{}
	for statement, match := range statements {
		exchange := proxy.Record(match)
		if _, err := save(t, s); err != nil {
			t.Fatal(err)
		}
		for _, f := range pgproxy.Malformed(<-exchange) {
			proxy.Once(match, f)
			e, err := save(t, s)
			acknowledged[e.To[0].Hash] = err
			if err != nil {
				t.Logf("%s: %s: %v", statement, f.Name, err)
			}
		}
	}
	rows := map[string]int{}
	for _, r := range b.rows(t) {
		rows[r.Hash]++
	}
	for hash, err := range acknowledged {
		if n := rows[hash]; n > 1 || n == 0 && err == nil || n == 1 && err != nil && !errors.Is(err, savemail.ErrUnknown) {
			t.Errorf("%s: %d rows, outcome %v", hash, n, err)
		}
	}
}

// testRejectedCommit: a constraint that the server checks at the COMMIT rejects a message.
func testRejectedCommit(t *testing.T, b *testbed) {
	b.server.Exec(t, "ALTER TABLE "+b.table+" ADD UNIQUE (subject) DEFERRABLE INITIALLY DEFERRED")
	s := b.open(t, nil)
	defer s.Close()
	for _, want := range []error{nil, savemail.ErrRejected} {
		if _, err := save(t, s); !errors.Is(err, want) {
			t.Errorf("the outcome is %v, want %v", err, want)
		}
	}
	if n := len(b.rows(t)); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

// testHiddenError: the store does not receive the error of an INSERT. Its COMMIT then rolls the
// transaction back, which the server reports by the tag ROLLBACK.
func testHiddenError(t *testing.T, b *testbed) {
	s, proxy := b.through(t)
	if _, err := save(t, s); err != nil {
		t.Fatal(err)
	}
	b.server.Exec(t, "ALTER TABLE "+b.table+" ADD CHECK (subject <> 'hello') NOT VALID")
	isInsert := statements["INSERT"]
	exchange := proxy.Record(isInsert)
	if _, err := save(t, s); !errors.Is(err, savemail.ErrRejected) {
		t.Fatalf("the outcome is %v, want %v", err, savemail.ErrRejected)
	}
	hide := pgproxy.Fault{
		Request: pgproxy.All, Response: strings.IndexByte((<-exchange).Response, 'E'),
		Change: func([]byte) []byte { return []byte("C\x00\x00\x00\x0fINSERT 0 1\x00") },
	}
	rolledBack := false
	proxy.Arm(func(r pgproxy.Request) *pgproxy.Fault {
		if isInsert(r) {
			return &hide
		}
		rolledBack = rolledBack || isCommit(r)
		return nil
	})
	if _, err := save(t, s); !errors.Is(err, savemail.ErrUnavailable) || !rolledBack {
		t.Errorf("the outcome is %v, COMMIT sent %v, want %v", err, rolledBack, savemail.ErrUnavailable)
	}
	proxy.Arm(nil)
	if n := len(b.rows(t)); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

// testCutsUnderLoad ends, delays and holds connections at random while messages arrive.
func testCutsUnderLoad(t *testing.T, b *testbed) {
	s, proxy := b.through(t)
	var cuts, holds []pgproxy.Fault
	for _, match := range statements {
		exchange := proxy.Record(match)
		if _, err := save(t, s); err != nil {
			t.Fatal(err)
		}
		e := <-exchange
		cuts, holds = append(cuts, pgproxy.Cuts(e)...), append(holds, pgproxy.Holds(e)...)
	}
	l := storetest.StartLoad(t, s, b.options().Log)
	proxy.Arm(func(r pgproxy.Request) *pgproxy.Fault {
		oneIn := 8
		if !statements["INSERT"](r) && !statements["COMMIT"](r) {
			oneIn = 40 // setup and settling
		}
		if rand.IntN(oneIn) > 0 {
			return nil
		}
		f := cuts[rand.IntN(len(cuts))]
		if rand.IntN(100) == 0 { // a wait for the timeout costs seconds
			f = holds[rand.IntN(len(holds))]
		}
		f.Delay = time.Duration(rand.IntN(5)) * time.Millisecond
		return &f
	})
	want := storetest.Repetitions(150, 1000)
	test.Await(t, nil, 8*time.Minute, "not enough cuts", func() error {
		if n := proxy.Cuts(); n < want {
			return fmt.Errorf("%d cuts, want %d", n, want)
		}
		return nil
	})
	proxy.Arm(nil)
	proxy.Release(true)
	l.AwaitProgress(t, 20)
	l.Stop(t)
	rows := b.rows(t)
	l.Verify(t, rows)
}
