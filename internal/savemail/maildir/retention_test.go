package maildir_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/maildir"
)

// fileOf returns the name of a file that the store created at a time.
func fileOf(at time.Time, n int) string {
	return fmt.Sprintf("%010d.N%09dR000_%032x.goguerrilla,S=6", at.Unix(), n, n)
}

// names returns the names of the files in new and cur.
func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	for _, sub := range []string{"new", "cur"} {
		files, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			list = append(list, sub+"/"+f.Name())
		}
	}
	return list
}

// sweep calls Expire until there is nothing more to delete.
func sweep(t *testing.T, s *maildir.Store, before time.Time) (last savemail.Expired, rows int) {
	t.Helper()
	for range 1000 {
		e, err := s.Expire(t.Context(), before)
		if err != nil {
			t.Fatal(err)
		}
		rows += e.Rows
		if !e.More {
			return e, rows
		}
	}
	t.Fatal("no end after 1,000 pieces")
	return
}

// TestExpire: Expire deletes the old files of the store in new and cur, with flags or not, and
// no other file, directory or link. The next sweep finds files that are new.
func TestExpire(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	create := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x\r\n"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().Truncate(time.Second)
	old, recent := now.Add(-2*time.Hour), now.Add(-30*time.Minute)
	for n := range 250 {
		create("new/" + fileOf(old, n))
		create("cur/" + fileOf(old, 1000+n) + ":2,S")
	}
	stay := []string{
		"cur/" + fileOf(now, 1) + ":2,", "cur/.hidden", "cur/1000000000.M1P1.mx",
		"new/" + fileOf(recent, 2), "new/" + fileOf(old, 9998), "new/" + fileOf(old, 9999),
	}
	for _, name := range stay[:4] {
		create(name)
	}
	if err := os.Mkdir(filepath.Join(dir, stay[4]), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(dir, stay[5])); err != nil {
		t.Fatal(err)
	}
	s := maildir.New(dir)
	last, rows := sweep(t, s, now.Add(-time.Hour))
	if rows != 500 || !last.Oldest.Equal(recent) {
		t.Errorf("%d files deleted, the oldest is of %v, want 500 and %v", rows, last.Oldest, recent)
	}
	got := names(t, dir)
	slices.Sort(got)
	slices.Sort(stay)
	if !slices.Equal(got, stay) {
		t.Errorf("left are\n%q, want\n%q", got, stay)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestExpireDaemons: while one daemon sweeps a Maildir, another one deletes nothing.
func TestExpireDaemons(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"new", "cur"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	for n := range 250 {
		if err := os.WriteFile(filepath.Join(dir, "new", fileOf(now.Add(-2*time.Hour), n)), nil, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	first, second := maildir.New(dir), maildir.New(dir)
	e, err := first.Expire(t.Context(), now.Add(-time.Hour))
	if err != nil || e.Rows == 0 || !e.More {
		t.Fatalf("Expire returns %+v, %v", e, err)
	}
	if e, err := second.Expire(t.Context(), now.Add(-time.Hour)); err != nil || e.Rows != 0 || e.More {
		t.Errorf("the second Expire returns %+v, %v", e, err)
	}
	if err := first.Close(); err != nil { // stops in the middle
		t.Fatal(err)
	}
	if _, rows := sweep(t, second, now.Add(-time.Hour)); rows != 250-e.Rows {
		t.Errorf("%d files deleted, want %d", rows, 250-e.Rows)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if _, err := maildir.New(filepath.Join(dir, "none")).Expire(t.Context(), now); err != nil {
		t.Errorf("a Maildir that does not exist yet: %v", err)
	}
}
