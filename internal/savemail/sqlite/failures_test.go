package sqlite_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/sqlite"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/storetest"
)

const text = "Subject: hello\r\n\r\nbody\r\n"

// saveOne saves one message and checks that its outcome is kind, which may be nil.
func saveOne(t *testing.T, s savemail.Store, kind error) error {
	t.Helper()
	err := save(t, s, text)
	if !errors.Is(err, kind) {
		t.Fatalf("outcome %v, want %v", err, kind)
	}
	return err
}

// save saves a message and returns its outcome.
func save(t *testing.T, s savemail.Store, message string) error {
	t.Helper()
	return s.Save(t.Context(), []*envelope.Envelope{storetest.Envelope(message, "b@example.com")})[0]
}

// awaitSave waits until the store saves a message again.
func awaitSave(t *testing.T, s savemail.Store) {
	t.Helper()
	test.Await(t, nil, 10*time.Second, "no Save succeeds", func() error { return save(t, s, text) })
}

// open returns a store, which is closed at the end of the test.
func open(t *testing.T, o sqlite.Options) *sqlite.Store {
	t.Helper()
	s := sqlite.New(o)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// checkRows checks the number of rows in the file.
func checkRows(t *testing.T, file string, want int) {
	t.Helper()
	if n := len(rows(t, file)); n != want {
		t.Errorf("%s has %d rows, want %d", filepath.Base(file), n, want)
	}
}

// TestUnusableFile: the error contains the file and the reason, and the store saves
// messages after the file was deleted.
func TestUnusableFile(t *testing.T) {
	for _, tt := range []struct {
		name, reason string
		prepare      func(t *testing.T, file string)
	}{
		{name: "not a database", reason: "not a database",
			prepare: func(t *testing.T, file string) { write(t, file, strings.Repeat("no database ", 100)) }},
		{name: "a directory", reason: "not a regular file",
			prepare: func(t *testing.T, file string) { os.Mkdir(file, 0o755) }},
		{name: "a FIFO", reason: "not a regular file",
			prepare: func(t *testing.T, file string) { syscall.Mkfifo(file, 0o600) }},
		{name: "a dangling link", reason: "open",
			prepare: func(t *testing.T, file string) { os.Symlink(file+".dir/nothing", file) }},
		{name: "columns missing", reason: "new_mail: the table lacks the columns mail",
			prepare: func(t *testing.T, file string) { execute(t, file, `CREATE TABLE new_mail (hash, "to")`) }},
		{name: "another NOT NULL column", reason: "mine",
			prepare: func(t *testing.T, file string) {
				open(t, sqlite.Options{File: file, Table: "new_mail"}).Check(t.Context())
				execute(t, file, "ALTER TABLE new_mail RENAME TO old",
					"CREATE TABLE new_mail AS SELECT * FROM old", "DROP TABLE new_mail",
					`CREATE TABLE new_mail (mine NOT NULL, "date","from","to","subject","body","charset","mail","spam_score","hash",
					"content_type","recipient","has_attach","ip_addr","attach_info")`)
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t)
			tt.prepare(t, o.File)
			s := open(t, o)
			if err := saveOne(t, s, savemail.ErrUnavailable); !strings.Contains(err.Error(), tt.reason) || !strings.Contains(err.Error(), o.File) {
				t.Errorf("the error is %v, want it to contain %q and %s", err, tt.reason, o.File)
			}
			if err := os.RemoveAll(o.File); err != nil {
				t.Fatal(err)
			}
			os.Remove(o.File + "-wal")
			os.Remove(o.File + "-shm")
			awaitSave(t, s)
		})
	}
}

// write creates a file with this content.
func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// execute runs the statements on the file.
func execute(t *testing.T, file string, statements ...string) {
	t.Helper()
	db := connect(t, file)
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// content returns the bytes of the file without the WAL. They change when the store
// opens the file again, since it then runs a checkpoint.
func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestConstraint: if a unique key rejects a message, the outcome is ErrRejected
// and the store does not open the file again.
func TestConstraint(t *testing.T) {
	o := options(t)
	s := open(t, o)
	saveOne(t, s, nil)
	execute(t, o.File, `CREATE UNIQUE INDEX once ON new_mail ("to")`)
	before := content(t, o.File)
	saveOne(t, s, savemail.ErrRejected)
	batch := []*envelope.Envelope{storetest.Envelope(text, "c@example.com"), storetest.Envelope(text, "b@example.com")}
	for _, err := range s.Save(t.Context(), batch) {
		if !errors.Is(err, savemail.ErrRejected) {
			t.Errorf("outcome %v, want %v", err, savemail.ErrRejected)
		}
	}
	checkRows(t, o.File, 1) // no row of the batch
	execute(t, o.File, `DROP INDEX once`)
	saveOne(t, s, nil)
	if content(t, o.File) != before {
		t.Error("the store has opened the file again")
	}
}

// TestLockedByOtherProcess: while another process writes, a Save ends when its context
// ends. The store does not open the file again.
func TestLockedByOtherProcess(t *testing.T) {
	o := options(t)
	s := open(t, o)
	saveOne(t, s, nil)
	db := connect(t, o.File)
	other, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	before := content(t, o.File)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Save(ctx, []*envelope.Envelope{storetest.Envelope(text, "b@example.com")})[0]; !errors.Is(err, savemail.ErrUnavailable) {
		t.Errorf("outcome %v, want %v", err, savemail.ErrUnavailable)
	}
	if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	saveOne(t, s, nil)
	checkRows(t, o.File, 2)
	if content(t, o.File) != before {
		t.Error("the store has opened the file again")
	}
}

// TestTwoStores: two processes can store messages in the same file.
func TestTwoStores(t *testing.T) {
	o := options(t)
	first, second := open(t, o), open(t, o)
	for range 5 {
		saveOne(t, first, nil)
		saveOne(t, second, nil)
	}
	checkRows(t, o.File, 10)
}

// TestDiskFull: on a full disk the outcome is ErrUnavailable, and acknowledged
// messages are not lost.
func TestDiskFull(t *testing.T) {
	o := options(t)
	dir := filepath.Dir(o.File)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("mount a small disk: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	s := sqlite.New(o)
	stored := 0
	for {
		err := save(t, s, "Subject: x\r\n\r\n"+strings.Repeat("z", 100_000))
		if errors.Is(err, savemail.ErrUnavailable) {
			break
		} else if err != nil {
			t.Fatalf("outcome %v, want nil or %v", err, savemail.ErrUnavailable)
		}
		if stored++; stored > 100 {
			t.Fatal("the disk does not fill up")
		}
	}
	checkRows(t, o.File, stored)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=20m"); err != nil {
		t.Fatal(err)
	}
	awaitSave(t, s)
	checkRows(t, o.File, stored+1)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
