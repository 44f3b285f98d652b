package postgres_test

import (
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/savemail/postgres"
)

// old makes n rows of the table two days old.
func (b *testbed) old(t *testing.T, s *postgres.Store, n int) {
	t.Helper()
	for range n {
		if _, err := save(t, s); err != nil {
			t.Fatal(err)
		}
	}
	b.server.GrantDelete(t, b.table)
	b.server.Exec(t, "UPDATE "+b.table+" SET date = date - interval '2 days'")
}

// sweep calls Expire until there is nothing more to delete.
func sweep(t *testing.T, s *postgres.Store) (rows int) {
	t.Helper()
	for range 1000 {
		e, err := s.Expire(t.Context(), time.Now().Add(-time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		rows += e.Rows
		if !e.More {
			return rows
		}
	}
	t.Fatal("no end after 1,000 pieces")
	return
}

func (b *testbed) want(t *testing.T, rows int) {
	t.Helper()
	if got := len(b.rows(t)); got != rows {
		t.Errorf("%d rows, want %d", got, rows)
	}
}

// testExpireLocked: a row that a consumer locks stays, and delays no other.
func testExpireLocked(t *testing.T, b *testbed) {
	s := b.open(t, nil)
	defer s.Close()
	b.old(t, s, 30)
	consumer, err := b.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := consumer.Exec("SELECT 1 FROM " + b.table + " WHERE mail_id IN (3, 20) FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	if n := sweep(t, s); n != 28 {
		t.Errorf("%d rows deleted, want 28", n)
	}
	if err := consumer.Rollback(); err != nil {
		t.Fatal(err)
	}
	sweep(t, s)
	b.want(t, 0)
}

// testExpireDaemons: while one daemon deletes, another one does not.
func testExpireDaemons(t *testing.T, b *testbed) {
	first, second := b.open(t, nil), b.open(t, nil)
	defer first.Close()
	defer second.Close()
	b.old(t, first, 20)
	daemon, err := b.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := daemon.Exec(`SELECT pg_advisory_xact_lock(hashtextextended('goguerrillad ' || $1::text, 0))`, `"`+b.table+`"`); err != nil {
		t.Fatal(err)
	}
	if n := sweep(t, second); n != 0 {
		t.Errorf("%d rows deleted while another daemon deletes", n)
	}
	if err := daemon.Rollback(); err != nil {
		t.Fatal(err)
	}
	if n := sweep(t, first) + sweep(t, second); n != 20 {
		t.Errorf("%d rows deleted, want 20", n)
	}
}

// testExpireZone: the time zone of the server does not matter to a date with a time zone.
func testExpireZone(t *testing.T, b *testbed) {
	s := b.open(t, nil)
	b.old(t, s, 5)
	s.Close()
	for _, zone := range []string{"Pacific/Kiritimati", "Pacific/Midway"} {
		b.server.Exec(t, "ALTER ROLE "+b.server.User+" SET timezone='"+zone+"'")
		s := b.open(t, nil)
		if _, err := save(t, s); err != nil {
			t.Fatal(err)
		}
		sweep(t, s)
		s.Close()
	}
	b.server.Exec(t, "ALTER ROLE "+b.server.User+" RESET timezone")
	b.want(t, 2)
}

// testExpireImpossible: the error names the statement that makes it possible.
func testExpireImpossible(t *testing.T, b *testbed) {
	fails := func(want string) {
		t.Helper()
		s := b.open(t, nil)
		defer s.Close()
		if _, err := s.Expire(t.Context(), time.Now()); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("Expire returns %v, want %q", err, want)
		}
	}
	fails(`want GRANT DELETE ON "` + b.table + `" TO ` + b.server.User)
	b.server.GrantDelete(t, b.table)
	fails("")
	b.server.Exec(t, "DROP INDEX "+b.table+"_date")
	fails(`want CREATE INDEX ON "` + b.table + `" (date)`)
	b.server.Exec(t, "CREATE INDEX ON "+b.table+" (date)", "DROP INDEX "+b.table+"_hash", "ALTER TABLE "+b.table+" DROP COLUMN mail_id")
	fails(`want CREATE INDEX ON "` + b.table + `" (hash)`)
	b.server.Exec(t, "ALTER TABLE "+b.table+" DROP COLUMN date")
	fails("needs the column date")
}
