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

// testRejectedCommit: an error of a trigger has the same effect at the COMMIT as at the INSERT.
func testRejectedCommit(t *testing.T, b *testbed) {
	b.server.Exec(t, "CREATE SEQUENCE attempts", `CREATE FUNCTION reject() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
		PERFORM nextval('attempts');
		IF NEW.subject ~ '[^ -~]' THEN RAISE SQLSTATE '22021'; END IF;
		IF length(NEW.subject) = 5 THEN RAISE EXCEPTION USING ERRCODE = NEW.subject; END IF;
		RETURN NULL; END $$`)
	for _, when := range []string{"NOT DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED"} {
		b.server.Exec(t, fmt.Sprintf("CREATE CONSTRAINT TRIGGER %[1]s AFTER INSERT ON %[1]s %[2]s FOR EACH ROW EXECUTE FUNCTION reject()", b.table, when))
		s := b.open(t, nil)
		defer s.Close()
		for _, tt := range []struct {
			subjects []string
			want     error
			attempts int
		}{
			{[]string{"good"}, nil, 1},
			{[]string{"22003"}, savemail.ErrRejected, 2},
			{[]string{"caf\u00e9"}, nil, 2}, // the second one has only ASCII
			{[]string{"caf\u00e9", "good"}, savemail.ErrRejected, 1},
			{[]string{"23514"}, savemail.ErrRejected, 1},
			{[]string{"54000"}, savemail.ErrRejected, 1},
			{[]string{"P0001"}, savemail.ErrRejected, 1},
			{[]string{"42703"}, savemail.ErrUnavailable, 1},
			{[]string{"53100"}, savemail.ErrUnavailable, 1},
			{[]string{"40001"}, savemail.ErrUnavailable, 4},
		} {
			b.server.Exec(t, "ALTER SEQUENCE attempts RESTART")
			var batch []*envelope.Envelope
			for _, subject := range tt.subjects {
				batch = append(batch, storetest.Envelope("Subject: "+subject+"\r\n\r\n", "b@example.com"))
			}
			for _, err := range s.Save(t.Context(), batch) {
				if !errors.Is(err, tt.want) {
					t.Errorf("%s, %q: the outcome is %v, want %v", when, tt.subjects, err, tt.want)
				}
			}
			var attempts int
			if b.server.QueryRow(t, "SELECT nextval('attempts') - 1", &attempts); attempts != tt.attempts {
				t.Errorf("%s, %q: %d attempts, want %d", when, tt.subjects, attempts, tt.attempts)
			}
		}
		var stored string
		b.server.QueryRow(t, "SELECT string_agg(subject, ' ' ORDER BY mail_id) FROM "+b.table, &stored)
		if stored != "good caf?" {
			t.Errorf("%s: the table has %q", when, stored)
		}
		b.server.Exec(t, "TRUNCATE "+b.table, "DROP TRIGGER "+b.table+" ON "+b.table)
	}
}

// testHiddenError: the store receives a row instead of the error of an INSERT. Its COMMIT then
// rolls the transaction back, which the server reports by the tag ROLLBACK.
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
		Change: func([]byte) []byte {
			return []byte("D\x00\x00\x00\x0b\x00\x01\x00\x00\x00\x011" + "C\x00\x00\x00\x0fINSERT 0 1\x00")
		},
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
