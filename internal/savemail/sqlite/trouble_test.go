package sqlite_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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

// one saves one mail and wants this outcome.
func one(t *testing.T, s savemail.Store, kind error) error {
	t.Helper()
	err := save(t, s, text)
	if !errors.Is(err, kind) {
		t.Fatalf("outcome %v, want %v", err, kind)
	}
	return err
}

func save(t *testing.T, s savemail.Store, message string) error {
	t.Helper()
	return s.Save(t.Context(), []*envelope.Envelope{storetest.Envelope(message, "b@example.com")})[0]
}

// awaitSave waits for the store's return, which it delays by a second at most.
func awaitSave(t *testing.T, s savemail.Store) {
	t.Helper()
	test.Await(t, nil, 10*time.Second, "the store does not come back", func() error { return save(t, s, text) })
}

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

func TestNewFile(t *testing.T) {
	for _, name := range []string{"mail.db", "sub/mail.db", "odd ?name=1&#%41;\u00fc.db"} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			o.File = filepath.Join(filepath.Dir(o.File), name)
			s := open(t, o)
			if err := s.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			one(t, s, nil)
			info, err := os.Stat(o.File)
			if err != nil {
				t.Fatal(err)
			}
			if mode := info.Mode().Perm(); mode&^0o640 != 0 {
				t.Errorf("mode %v", mode)
			}
		})
	}
}

// TestFile: what another process finds in the file. That a commit is synced is seen
// by TestPowerLoss alone.
func TestFile(t *testing.T) {
	o := options(t)
	one(t, open(t, o), nil)
	db := connect(t, o.File)
	for pragma, want := range map[string]string{"journal_mode": "wal", "page_size": "16384", "integrity_check": "ok"} {
		var got string
		if err := db.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, want %q (%v)", pragma, got, want, err)
		}
	}
	var names string
	if err := db.QueryRow("SELECT group_concat(name, ' ') FROM pragma_index_list('new_mail') ORDER BY name").Scan(&names); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"to", "hash", "date"} {
		if !strings.Contains(names, "."+key) {
			t.Errorf("no index on %s in %q", key, names)
		}
	}
	var plan string
	var ignored int
	if err := db.QueryRow("EXPLAIN QUERY PLAN SELECT * FROM new_mail WHERE hash='x'").Scan(&ignored, &ignored, &ignored, &plan); err != nil || !strings.Contains(plan, "INDEX") {
		t.Errorf("a look-up by hash: %q (%v)", plan, err)
	}
}

func TestTwoTables(t *testing.T) {
	o := options(t)
	other := o
	other.Table = "new_mail_to$2"
	one(t, open(t, o), nil)
	one(t, open(t, other), nil)
}

// Mail must never go to a file that nobody finds any more.
func TestFileDeleted(t *testing.T) {
	o := options(t)
	s := open(t, o)
	one(t, s, nil)
	for _, name := range []string{o.File, o.File + "-wal", o.File + "-shm"} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	one(t, s, nil)
	if n := len(rows(t, o.File)); n != 1 {
		t.Errorf("%d rows in the new file", n)
	}
}

// What is beside the file belongs to it: who opens the file next finds what was
// committed there.
func TestFileLosesWAL(t *testing.T) {
	for _, suffix := range []string{"-wal", "-shm"} {
		t.Run(suffix[1:], func(t *testing.T) {
			o := options(t)
			s := open(t, o)
			one(t, s, nil)
			if err := os.Remove(o.File + suffix); err != nil {
				t.Fatal(err)
			}
			one(t, s, nil)
			if n := len(rows(t, o.File)); n != 2 {
				t.Errorf("%d rows", n)
			}
		})
	}
}

func TestFileReplaced(t *testing.T) {
	o := options(t)
	s := open(t, o)
	one(t, s, nil)
	fresh := options(t)
	other := sqlite.New(fresh)
	one(t, other, nil)
	one(t, other, nil)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh.File, o.File); err != nil {
		t.Fatal(err)
	}
	one(t, s, nil)
	if n := len(rows(t, o.File)); n != 3 {
		t.Errorf("%d rows in the new file", n)
	}
}

// A file that is moved away takes along what was acknowledged, though it may
// be in the WAL still.
func TestFileMoved(t *testing.T) {
	var log test.Log
	o := options(t)
	o.Log = log.Logger()
	s := open(t, o)
	one(t, s, nil)
	one(t, s, nil)
	backup := o.File + ".old"
	if err := os.Rename(o.File, backup); err != nil {
		t.Fatal(err)
	}
	one(t, s, nil)
	if n := len(rows(t, o.File)); n != 1 {
		t.Errorf("%d rows in the new file", n)
	}
	if n := len(rows(t, backup)); n != 2 {
		t.Errorf("%d rows in the old file", n)
	}
	if err := os.Rename(o.File, backup); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	os.Remove(o.File + "-wal")
	if n := len(rows(t, backup)); n != 1 {
		t.Errorf("%d rows in the file that was moved before the end", n)
	}
	if n := log.Count("SQLite file moved without the latest messages"); n > 0 {
		t.Errorf("the log reports lost messages: %s", log.String())
	}
}

// The log reports a file that was moved while another program needs the WAL: the file
// alone lacks the latest messages.
func TestFileMovedWhileRead(t *testing.T) {
	var log test.Log
	o := options(t)
	o.Log = log.Logger()
	s := open(t, o)
	one(t, s, nil)
	reader, err := connect(t, o.File).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for _, statement := range []string{"BEGIN", "SELECT count(*) FROM new_mail"} {
		if _, err := reader.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	one(t, s, nil)
	if err := os.Rename(o.File, o.File+".old"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // it waits for the reader
	defer cancel()
	_ = s.Save(ctx, []*envelope.Envelope{storetest.Envelope(text, "b@example.com")})
	if n := log.Count("SQLite file moved without the latest messages"); n != 1 {
		t.Errorf("the log reports it %d times: %s", n, log.String())
	}
	awaitSave(t, s)
}

func TestDirectoryComesLater(t *testing.T) {
	o := options(t)
	dir := filepath.Join(filepath.Dir(o.File), "not", "there")
	o.File = filepath.Join(dir, "mail.db")
	s := open(t, o)
	if err := one(t, s, savemail.ErrUnavailable); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "mkdir "+dir) {
		t.Error(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	awaitSave(t, s)
}

func TestNotUsable(t *testing.T) {
	for _, test := range []struct {
		name, part string
		prepare    func(t *testing.T, file string)
	}{
		{name: "not a database", part: "not a database",
			prepare: func(t *testing.T, file string) { write(t, file, strings.Repeat("no database ", 100)) }},
		{name: "a directory", part: "not a regular file",
			prepare: func(t *testing.T, file string) { os.Mkdir(file, 0o755) }},
		{name: "a FIFO", part: "not a regular file",
			prepare: func(t *testing.T, file string) { syscall.Mkfifo(file, 0o600) }},
		{name: "a link to nothing", part: "open",
			prepare: func(t *testing.T, file string) { os.Symlink(file+".dir/nothing", file) }},
		{name: "columns missing", part: "new_mail: the table lacks the columns date, from, ",
			prepare: func(t *testing.T, file string) { execute(t, file, `CREATE TABLE new_mail (hash, "to")`) }},
		{name: "a column of the operator's", part: "mine",
			prepare: func(t *testing.T, file string) {
				open(t, sqlite.Options{File: file, Table: "new_mail"}).Check(t.Context())
				execute(t, file, "ALTER TABLE new_mail RENAME TO old",
					"CREATE TABLE new_mail AS SELECT * FROM old", "DROP TABLE new_mail",
					`CREATE TABLE new_mail (mine NOT NULL, "date","from","to","subject","body","charset","mail","spam_score","hash",
					"content_type","recipient","has_attach","ip_addr","attach_info")`)
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := options(t)
			test.prepare(t, o.File)
			s := open(t, o)
			if err := one(t, s, savemail.ErrUnavailable); !strings.Contains(err.Error(), test.part) || !strings.Contains(err.Error(), o.File) {
				t.Errorf("%v: want it to name %q and the file", err, test.part)
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

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

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

// merged returns the content of the file, without the WAL. It changes when the store
// opens the file again.
func merged(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// A unique key of the operator's refuses a mail, not the store, which keeps the file
// open.
func TestConstraint(t *testing.T) {
	o := options(t)
	s := open(t, o)
	one(t, s, nil)
	execute(t, o.File, `CREATE UNIQUE INDEX once ON new_mail ("to")`)
	before := merged(t, o.File)
	one(t, s, savemail.ErrRejected)
	batch := []*envelope.Envelope{storetest.Envelope(text, "c@example.com"), storetest.Envelope(text, "b@example.com")}
	for _, err := range s.Save(t.Context(), batch) {
		if !errors.Is(err, savemail.ErrRejected) {
			t.Errorf("outcome %v", err)
		}
	}
	if n := len(rows(t, o.File)); n != 1 {
		t.Errorf("%d rows: a batch is all or nothing", n)
	}
	execute(t, o.File, `DROP INDEX once`)
	one(t, s, nil)
	if merged(t, o.File) != before {
		t.Error("the store has opened the file again")
	}
}

// While another process writes, a mail waits for no longer than its context. The store
// keeps the file open.
func TestLockedByAnother(t *testing.T) {
	o := options(t)
	s := open(t, o)
	one(t, s, nil)
	db := connect(t, o.File)
	other, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	before := merged(t, o.File)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Save(ctx, []*envelope.Envelope{storetest.Envelope(text, "b@example.com")})[0]; !errors.Is(err, savemail.ErrUnavailable) {
		t.Errorf("outcome %v", err)
	}
	if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	one(t, s, nil)
	if n := len(rows(t, o.File)); n != 2 {
		t.Errorf("%d rows", n)
	}
	if merged(t, o.File) != before {
		t.Error("the store has opened the file again")
	}
}

// Two daemons may share a file.
func TestTwoStores(t *testing.T) {
	o := options(t)
	first, second := open(t, o), open(t, o)
	for range 5 {
		one(t, first, nil)
		one(t, second, nil)
	}
	if n := len(rows(t, o.File)); n != 10 {
		t.Errorf("%d rows", n)
	}
}

// A full disk is not the mail's fault, and what was acknowledged stays.
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
			t.Fatalf("outcome %v", err)
		}
		if stored++; stored > 100 {
			t.Fatal("the disk does not fill up")
		}
	}
	if n := len(rows(t, o.File)); n != stored {
		t.Errorf("%d rows, %d were acknowledged", n, stored)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=20m"); err != nil {
		t.Fatal(err)
	}
	awaitSave(t, s)
	if n := len(rows(t, o.File)); n != stored+1 {
		t.Errorf("%d rows, %d were acknowledged", n, stored+1)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A Reader leaves no trace, whether or not a store has the file open.
func TestReaderCreatesNothing(t *testing.T) {
	o := options(t)
	if _, err := sqlite.NewReader(o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	s := open(t, o)
	one(t, s, nil)
	read := func() {
		t.Helper()
		before := files(t, o.File)
		r, err := sqlite.NewReader(o)
		if err != nil {
			t.Fatal(err)
		}
		if list, err := r.List(t.Context(), 10); err != nil || len(list) != 1 {
			t.Errorf("List: %v, %v", list, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if after := files(t, o.File); !slices.Equal(before, after) {
			t.Errorf("files %q, before %q", after, before)
		}
	}
	read()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	read()
}

func files(t *testing.T, file string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
