package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail/sqlite"
	"goguerrillad/internal/test"
)

func query(t *testing.T, text string) recipient.Query {
	t.Helper()
	q, err := recipient.Parse(text, recipient.SQLite)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestRecipients: the query reads what is at the path now, beside a store that
// writes, and writes nothing itself.
func TestRecipients(t *testing.T) {
	o := options(t)
	r := sqlite.NewRecipients(o, query(t, "SELECT 1 FROM mailbox WHERE address=:address OR domain=:domain"))
	has := func(address, domain string, want bool, kind error) {
		t.Helper()
		if got, err := r.Has(t.Context(), address, domain); got != want || !errors.Is(err, kind) {
			t.Errorf("%s: %v, %v", address, got, err)
		}
	}
	has("a@b", "b", false, fs.ErrNotExist)
	s := open(t, o)
	save(t, s, "text")
	has("a@b", "b", false, recipient.ErrInvalid) // there is no such table yet
	execute(t, o.File, "CREATE TABLE mailbox (address TEXT, domain TEXT)", "INSERT INTO mailbox VALUES ('a@b', NULL), (NULL, 'c')")
	has("a@b", "b", true, nil)
	has("b@b", "b", false, nil)
	has("x@c", "c", true, nil)
	has("' OR 1=1 --", "\x00", false, nil)
	save(t, s, "text")
	// No file, and then another one in place of the next.
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	rename(o.File, o.File+".old")
	has("a@b", "b", false, fs.ErrNotExist)
	execute(t, o.File, "CREATE TABLE mailbox (address TEXT, domain TEXT)")
	has("b@b", "b", false, nil)
	execute(t, o.File+".new", "CREATE TABLE mailbox (address TEXT, domain TEXT)", "INSERT INTO mailbox VALUES ('b@b', NULL)")
	rename(o.File+".new", o.File)
	has("a@b", "b", false, nil)
	has("b@b", "b", true, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Has(ctx, "a@b", "b"); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}

	w := sqlite.NewRecipients(o, query(t, "WITH who AS (SELECT :address AS address) DELETE FROM mailbox WHERE address IN who RETURNING 1"))
	if _, err := w.Has(t.Context(), "b@b", "b"); err == nil {
		t.Error("a query that writes is run")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// TestRecipientsRestoreTheFile: after the file was moved or deleted, and before
// there was one, a query works at once, although no message is saved.
func TestRecipientsRestoreTheFile(t *testing.T) {
	o := options(t)
	s := open(t, o)
	r := sqlite.NewRecipients(o, query(t, "SELECT 1 FROM new_mail WHERE recipient=:address"))
	s.Share(r)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	has := func(when string, want bool) {
		t.Helper()
		var all sync.WaitGroup
		for range 2 * recipient.Connections {
			all.Go(func() {
				if got, err := r.Has(t.Context(), "b@example.com", "example.com"); got != want || err != nil {
					t.Errorf("%s: %v, %v", when, got, err)
				}
			})
		}
		all.Wait()
	}
	has("before there is a file", false)
	if err := save(t, s, text); err != nil {
		t.Fatal(err)
	}
	has("after a message", true)
	if err := os.Rename(o.File, o.File+".old"); err != nil {
		t.Fatal(err)
	}
	has("after the file was moved", false)
	if old := rows(t, o.File+".old"); len(old) != 1 {
		t.Errorf("%d rows are in the file that was moved", len(old))
	}
	if err := os.Remove(o.File); err != nil {
		t.Fatal(err)
	}
	has("after the file was deleted", false)
	if err := save(t, s, text); err != nil {
		t.Fatal(err)
	}
	has("after another message", true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(o.File); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Has(t.Context(), "b@example.com", "example.com"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the store was closed: %v", err)
	}
}

// TestRecipientsOfReplacedFile: queries that run, and queries that wait for a
// connection, get their answer although another file takes the place of theirs.
func TestRecipientsOfReplacedFile(t *testing.T) {
	o := options(t)
	execute(t, o.File, "CREATE TABLE mailbox (address TEXT)", "INSERT INTO mailbox VALUES ('a@b')")
	execute(t, o.File+".new", "CREATE TABLE mailbox (address TEXT)", "INSERT INTO mailbox VALUES ('c@b')")
	lock := connect(t, o.File)
	lock.SetMaxOpenConns(1)
	if _, err := lock.Exec("BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	r := sqlite.NewRecipients(o, query(t, "SELECT 1 FROM mailbox WHERE address=:address"))
	has := func(address string) {
		if got, err := r.Has(t.Context(), address, "b"); !got || err != nil {
			t.Errorf("%s: %v, %v", address, got, err)
		}
	}
	var all sync.WaitGroup
	const waiting = 3
	for range recipient.Connections + waiting {
		all.Go(func() { has("a@b") })
	}
	awaitCalls(t, "database/sql.(*DB).conn", waiting)
	if err := os.Rename(o.File+".new", o.File); err != nil {
		t.Fatal(err)
	}
	has("c@b")
	if _, err := lock.Exec("COMMIT"); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// awaitCalls waits until n goroutines are in the function.
func awaitCalls(t *testing.T, function string, n int) {
	t.Helper()
	test.Await(t, nil, 10*time.Second, "goroutines in "+function, func() error {
		var stacks strings.Builder
		err := pprof.Lookup("goroutine").WriteTo(&stacks, 2)
		if got := strings.Count(stacks.String(), "\n"+function+"("); err == nil && got != n {
			err = fmt.Errorf("%d, want %d", got, n)
		}
		return err
	})
}

// TestRecipientsClose: Close waits for the queries that run, also of a file that was
// replaced, since they keep the file open.
func TestRecipientsClose(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		o := options(t)
		execute(t, o.File, "CREATE TABLE mailbox (address TEXT)", "INSERT INTO mailbox VALUES ('a@b')")
		r := sqlite.NewRecipients(o, query(t, "SELECT 1 FROM mailbox WHERE address=:address"))
		if got, err := r.Has(t.Context(), "a@b", "b"); !got || err != nil { // the file is open from now on
			t.Fatalf("%v, %v", got, err)
		}
		lock := connect(t, o.File)
		lock.SetMaxOpenConns(1)
		if _, err := lock.Exec("BEGIN EXCLUSIVE"); err != nil {
			t.Fatal(err)
		}
		answered, closed := make(chan error, 1), make(chan error, 1)
		go func() {
			got, err := r.Has(t.Context(), "a@b", "b")
			if !got && err == nil {
				err = errors.New("no row")
			}
			answered <- err
		}()
		awaitCalls(t, "goguerrillad/internal/savemail/sqlite.has", 1)
		if replaced {
			if err := os.Remove(o.File); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Has(t.Context(), "a@b", "b"); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("a file that is missing: %v", err)
			}
		}
		go func() { closed <- r.Close() }()
		awaitCalls(t, "goguerrillad/internal/savemail/sqlite.(*Recipients).Close", 1)
		if _, err := lock.Exec("COMMIT"); err != nil {
			t.Fatal(err)
		}
		for _, end := range []chan error{answered, closed} {
			if err := <-end; err != nil {
				t.Errorf("the file is replaced: %v: %v", replaced, err)
			}
		}
	}
}

// TestCloseMergesWALDespiteRecipients: a store that closes has the connections of
// the query close first, so that the file alone is complete.
func TestCloseMergesWALDespiteRecipients(t *testing.T) {
	o := options(t)
	s := open(t, o)
	r := sqlite.NewRecipients(o, query(t, "SELECT 1 FROM new_mail WHERE recipient=:address"))
	s.Share(r)
	if err := save(t, s, text); err != nil {
		t.Fatal(err)
	}
	if found, err := r.Has(t.Context(), "b@example.com", "example.com"); !found || err != nil {
		t.Fatal(found, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	alone := filepath.Join(t.TempDir(), "copy.db")
	mail, err := os.ReadFile(o.File)
	if err == nil {
		err = os.WriteFile(alone, mail, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := rows(t, alone); len(got) != 1 {
		t.Errorf("%d rows are in a copy of the file alone", len(got))
	}
	if found, err := r.Has(t.Context(), "b@example.com", "example.com"); !found || err != nil {
		t.Errorf("a last query at a reload: %v, %v", found, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestTryRecipients leaves no trace beside a file that nobody has open.
func TestTryRecipients(t *testing.T) {
	o := options(t)
	execute(t, o.File, "PRAGMA journal_mode=WAL", "CREATE TABLE mailbox (address TEXT)")
	before := files(t, o.File)
	for text, kind := range map[string]error{
		"SELECT 1 FROM mailbox WHERE address=:address":  nil,
		"SELECT 1 FROM missing WHERE address=:address":  recipient.ErrInvalid,
		"SELECT 1 FROM mailbox WHERE address=:address)": recipient.ErrInvalid,
	} {
		if err := sqlite.TryRecipients(t.Context(), o, query(t, text), "a@b", "b"); !errors.Is(err, kind) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if after := files(t, o.File); len(after) != len(before) {
		t.Errorf("%q became %q", before, after)
	}
	o.File += ".missing"
	for text, invalid := range map[string]bool{
		"SELECT 1": false,
		"SELECT 1 FROM mailbox WHERE address=:address":  false,
		"SELECT 1 FRM mailbox WHERE address=:address":   true,
		"SELECT 1 FROM mailbox WHERE address=:address)": true,
		"SELECT wrong": true,
	} {
		err := sqlite.TryRecipients(t.Context(), o, query(t, text), "a@b", "b")
		if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, recipient.ErrInvalid) != invalid {
			t.Errorf("%s, without a file: %v", text, err)
		}
	}
}
