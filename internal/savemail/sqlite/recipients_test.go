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

// query parses the text of a recipient query.
func query(t *testing.T, text string) recipient.Query {
	t.Helper()
	q, err := recipient.Parse(text, recipient.SQLite)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestRecipients: the query reads the file that is at the path now, while a
// store writes to it. A query that writes fails.
func TestRecipients(t *testing.T) {
	o := options(t)
	r := sqlite.NewRecipients(o, query(t, "SELECT 1 FROM mailbox WHERE address=:address OR domain=:domain"))
	has := func(address, domain string, want bool, wantErr error) {
		t.Helper()
		got, err := r.Has(t.Context(), address, domain)
		if got != want {
			t.Errorf("%s: Has returns %v, want %v", address, got, want)
		}
		if !errors.Is(err, wantErr) {
			t.Errorf("%s: Has returns the error %v, want %v", address, err, wantErr)
		}
	}
	has("a@b", "b", false, fs.ErrNotExist)
	s := open(t, o)
	save(t, s, "text")
	has("a@b", "b", false, recipient.ErrInvalid) // the table is missing
	execute(t, o.File, "CREATE TABLE mailbox (address TEXT, domain TEXT)", "INSERT INTO mailbox VALUES ('a@b', NULL), (NULL, 'c')")
	has("a@b", "b", true, nil)
	has("b@b", "b", false, nil)
	has("x@c", "c", true, nil)
	has("' OR 1=1 --", "\x00", false, nil)
	save(t, s, "text")
	// The file is moved, a new file is created, and that file is replaced.
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
		t.Errorf("Has with a canceled context returns %v, want %v", err, context.Canceled)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}

	w := sqlite.NewRecipients(o, query(t, "WITH who AS (SELECT :address AS address) DELETE FROM mailbox WHERE address IN who RETURNING 1"))
	if _, err := w.Has(t.Context(), "b@b", "b"); err == nil {
		t.Error("a query that writes returns no error")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// TestRecipientsCreateFile: if the file does not exist yet, or was moved or deleted, a
// query makes the store create it, without a Save.
func TestRecipientsCreateFile(t *testing.T) {
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
					t.Errorf("%s: Has returns %v, want %v (error %v)", when, got, want, err)
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
	checkRows(t, o.File+".old", 1)
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
		t.Errorf("after the close of the store: Has returns %v, want %v", err, fs.ErrNotExist)
	}
}

// TestRecipientsOfReplacedFile: if the file is replaced, running queries and queries
// that wait for a connection return the result of the old file.
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
			t.Errorf("%s: Has returns %v, want true (error %v)", address, got, err)
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

// awaitCalls waits until n goroutines run the function.
func awaitCalls(t *testing.T, function string, n int) {
	t.Helper()
	test.Await(t, nil, 10*time.Second, "the goroutines do not run "+function, func() error {
		var stacks strings.Builder
		err := pprof.Lookup("goroutine").WriteTo(&stacks, 2)
		if got := strings.Count(stacks.String(), "\n"+function+"("); err == nil && got != n {
			err = fmt.Errorf("%d goroutines, want %d", got, n)
		}
		return err
	})
}

// TestRecipientsClose: Close waits for the running queries, even for the queries of a
// replaced file.
func TestRecipientsClose(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		o := options(t)
		execute(t, o.File, "CREATE TABLE mailbox (address TEXT)", "INSERT INTO mailbox VALUES ('a@b')")
		r := sqlite.NewRecipients(o, query(t, "SELECT 1 FROM mailbox WHERE address=:address"))
		if got, err := r.Has(t.Context(), "a@b", "b"); !got || err != nil { // opens the file
			t.Fatalf("Has returns %v, want true (error %v)", got, err)
		}
		lock := connect(t, o.File)
		lock.SetMaxOpenConns(1)
		if _, err := lock.Exec("BEGIN EXCLUSIVE"); err != nil {
			t.Fatal(err)
		}
		queried, closed := make(chan error, 1), make(chan error, 1)
		go func() {
			got, err := r.Has(t.Context(), "a@b", "b")
			if !got && err == nil {
				err = errors.New("no row")
			}
			queried <- err
		}()
		awaitCalls(t, "goguerrillad/internal/savemail/sqlite.runQuery", 1)
		if replaced {
			if err := os.Remove(o.File); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Has(t.Context(), "a@b", "b"); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("Has of a missing file returns %v, want %v", err, fs.ErrNotExist)
			}
		}
		go func() { closed <- r.Close() }()
		awaitCalls(t, "goguerrillad/internal/savemail/sqlite.(*Recipients).Close", 1)
		if _, err := lock.Exec("COMMIT"); err != nil {
			t.Fatal(err)
		}
		for _, result := range []chan error{queried, closed} {
			if err := <-result; err != nil {
				t.Errorf("replaced %v: %v", replaced, err)
			}
		}
	}
}

// TestCloseWithRecipients: Close of the store closes the connections of the
// query first, so that SQLite copies all of the WAL into the file.
func TestCloseWithRecipients(t *testing.T) {
	o := options(t)
	s := open(t, o)
	r := sqlite.NewRecipients(o, query(t, "SELECT 1 FROM new_mail WHERE recipient=:address"))
	s.Share(r)
	if err := save(t, s, text); err != nil {
		t.Fatal(err)
	}
	if found, err := r.Has(t.Context(), "b@example.com", "example.com"); !found || err != nil {
		t.Fatalf("Has returns %v, want true (error %v)", found, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	alone := filepath.Join(t.TempDir(), "copy.db")
	write(t, alone, content(t, o.File))
	checkRows(t, alone, 1)
	if found, err := r.Has(t.Context(), "b@example.com", "example.com"); !found || err != nil {
		t.Errorf("after the close of the store: Has returns %v, want true (error %v)", found, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestTryRecipients: TryRecipients returns the errors of the query and creates
// no file.
func TestTryRecipients(t *testing.T) {
	o := options(t)
	execute(t, o.File, "PRAGMA journal_mode=WAL", "CREATE TABLE mailbox (address TEXT)")
	before := files(t, o.File)
	for text, want := range map[string]error{
		"SELECT 1 FROM mailbox WHERE address=:address":  nil,
		"SELECT 1 FROM missing WHERE address=:address":  recipient.ErrInvalid,
		"SELECT 1 FROM mailbox WHERE address=:address)": recipient.ErrInvalid,
	} {
		if err := sqlite.TryRecipients(t.Context(), o, query(t, text), "a@b", "b"); !errors.Is(err, want) {
			t.Errorf("%s: the error is %v, want %v", text, err, want)
		}
	}
	if after := files(t, o.File); len(after) != len(before) {
		t.Errorf("there are the files %q, before the query %q", after, before)
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
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s, without a file: the error is %v, want %v", text, err, fs.ErrNotExist)
		}
		if got := errors.Is(err, recipient.ErrInvalid); got != invalid {
			t.Errorf("%s, without a file: the query is invalid: %v, want %v (error %v)", text, got, invalid, err)
		}
	}
}
