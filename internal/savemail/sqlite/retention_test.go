package sqlite_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/sqlite"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/storetest"
)

// saveOld stores n messages that arrived at a time.
func saveOld(t *testing.T, s *sqlite.Store, n int, at time.Time) {
	t.Helper()
	for range n {
		e := storetest.Envelope(text, "b@example.com")
		e.Date = at
		store(t, s, e)
	}
}

func store(t *testing.T, s *sqlite.Store, e *envelope.Envelope) {
	t.Helper()
	if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
		t.Fatal(err)
	}
}

// TestExpireDaemons: two daemons on one file delete each message once, and another program
// that locks the file delays them only.
func TestExpireDaemons(t *testing.T) {
	o := options(t)
	stores := []*sqlite.Store{sqlite.New(o), sqlite.New(o)}
	const old = 300
	now := time.Now()
	saveOld(t, stores[0], old, now.Add(-2*time.Hour))
	saveOld(t, stores[1], 5, now)
	deleted := make(chan int)
	for _, s := range stores {
		go func() {
			sum := 0
			for more := true; more; {
				expired, err := s.Expire(t.Context(), now.Add(-time.Hour))
				if err != nil {
					t.Error(err)
				}
				sum += expired.Rows
				more = expired.More
			}
			deleted <- sum
		}()
	}
	if sum := <-deleted + <-deleted; sum != old {
		t.Errorf("%d rows deleted, want %d", sum, old)
	}
	if got := len(rows(t, o.File)); got != 5 {
		t.Errorf("%d rows are left, want 5", got)
	}
	for _, s := range stores {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestExpireFails: after a failed deletion the store saves messages, syncs their commits, and
// deletes later.
func TestExpireFails(t *testing.T) {
	o := options(t)
	s := sqlite.New(o)
	defer s.Close()
	now := time.Now()
	saveOld(t, s, 3, now.Add(-2*time.Hour))
	execute(t, o.File, "CREATE TRIGGER keep BEFORE DELETE ON new_mail BEGIN SELECT RAISE(ABORT, 'kept'); END")
	if _, err := s.Expire(t.Context(), now.Add(-time.Hour)); err == nil || !strings.Contains(err.Error(), "kept") {
		t.Errorf("Expire returns %v, want the error of the trigger", err)
	}
	saveOld(t, s, 1, now)
	execute(t, o.File, "DROP TRIGGER keep")
	if expired, err := s.Expire(t.Context(), now.Add(-time.Hour)); err != nil || expired.Rows == 0 {
		t.Errorf("Expire returns %+v, %v", expired, err)
	}
}

// TestExpireOtherDates: a date in a form that cannot be compared, which another program has
// written, is not old.
func TestExpireOtherDates(t *testing.T) {
	o := options(t)
	s := sqlite.New(o)
	defer s.Close()
	now := time.Now()
	saveOld(t, s, 4, now)
	for i, date := range []string{"strftime('%s', 'now')", "''", "strftime('%Y-%m-%dT%H:%M:%SZ', 'now')", "datetime('now', '-2 hours')"} {
		execute(t, o.File, fmt.Sprintf("UPDATE new_mail SET date=%s WHERE mail_id=%d", date, i+1))
	}
	for range 3 {
		if _, err := s.Expire(t.Context(), now.Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(rows(t, o.File)); got != 3 {
		t.Errorf("%d rows are left, want 3", got)
	}
}

// TestExpireTables: tables of operators without a rowid, with an index that begins with date,
// and with a partial index, which is not enough.
func TestExpireTables(t *testing.T) {
	const columns = `(hash TEXT PRIMARY KEY, "to" TEXT, mail BLOB, date TEXT NOT NULL)`
	for _, tt := range []struct{ create, index, want string }{
		{columns + " WITHOUT ROWID", "CREATE INDEX d ON new_mail (Date, hash)", ""},
		{columns, "CREATE INDEX d ON new_mail (date)", ""},
		{columns, "CREATE INDEX d ON new_mail (date) WHERE hash>''", `needs an index: want CREATE INDEX "new_mail.date" ON "new_mail" (date)`},
		{columns, "CREATE INDEX d ON new_mail (hash, date)", "needs an index"},
	} {
		t.Run(fmt.Sprint(tt.create, " ", tt.index), func(t *testing.T) {
			o := options(t)
			execute(t, o.File, "CREATE TABLE new_mail "+tt.create+";"+tt.index)
			s := sqlite.New(o)
			defer s.Close()
			now := time.Now()
			saveOld(t, s, 2, now.Add(-2*time.Hour))
			saveOld(t, s, 1, now)
			expired, err := s.Expire(t.Context(), now.Add(-time.Hour))
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Expire returns %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil || expired.Rows != 1 && expired.Rows != 2 {
				t.Errorf("Expire returns %+v, %v", expired, err)
			}
		})
	}
}

// TestExpireIndexDropped: the store notices an index that another program drops and creates.
func TestExpireIndexDropped(t *testing.T) {
	o := options(t)
	s := sqlite.New(o)
	defer s.Close()
	now := time.Now()
	saveOld(t, s, 1, now.Add(-2*time.Hour))
	for _, tt := range []struct{ change, want string }{
		{"", ""},
		{`DROP INDEX "new_mail.date"`, "needs an index"},
		{"ALTER TABLE new_mail ADD COLUMN other TEXT", "needs an index"},
		{"CREATE INDEX d ON new_mail (date)", ""},
	} {
		if tt.change != "" {
			execute(t, o.File, tt.change)
		}
		for range 2 {
			if _, err := s.Expire(t.Context(), now); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("after %q: %v, want %q", tt.change, err, tt.want)
			}
		}
	}
}

// TestFree: the free pages of the file count as free space.
func TestFree(t *testing.T) {
	o := options(t)
	s := sqlite.New(o)
	defer s.Close()
	now := time.Now()
	e := storetest.Envelope(text+strings.Repeat("x", 50<<20), "b@example.com")
	e.Date = now.Add(-2 * time.Hour)
	store(t, s, e)
	if expired, err := s.Expire(t.Context(), now); err != nil || expired.Rows != 1 {
		t.Fatalf("Expire returns %+v, %v", expired, err)
	}
	db := connect(t, o.File)
	test.Await(t, nil, time.Minute, "the free pages are not counted", func() error {
		disk, err := savemail.FreeSpace(o.File)
		if err != nil {
			return err
		}
		free, err := s.Free()
		if err == nil && free < disk+40<<20 {
			err = fmt.Errorf("%d bytes free, the disk has %d, the file %d pages", free, disk, freePages(t, db))
		}
		return err
	})
}

func freePages(t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	if err := db.QueryRow("PRAGMA freelist_count").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
