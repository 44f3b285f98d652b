package sqlite_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/sqlite"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/storetest"
)

func TestNewFile(t *testing.T) {
	for _, name := range []string{"mail.db", "sub/mail.db", "odd ?name=1&#%41;\u00fc.db"} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			o.File = filepath.Join(filepath.Dir(o.File), name)
			s := open(t, o)
			if err := s.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			saveOne(t, s, nil)
			info, err := os.Stat(o.File)
			if err != nil {
				t.Fatal(err)
			}
			if mode := info.Mode().Perm(); mode&^0o640 != 0 {
				t.Errorf("the file has mode %v, want at most -rw-r-----", mode)
			}
		})
	}
}

// TestFileFormat checks the settings, the indexes and the integrity of the file from
// another connection. TestPowerLoss checks that commits are synced.
func TestFileFormat(t *testing.T) {
	o := options(t)
	saveOne(t, open(t, o), nil)
	db := connect(t, o.File)
	for pragma, want := range map[string]string{"journal_mode": "wal", "page_size": "16384", "integrity_check": "ok"} {
		var got string
		if err := db.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, want %q (error %v)", pragma, got, want, err)
		}
	}
	var names string
	if err := db.QueryRow("SELECT group_concat(name, ' ') FROM pragma_index_list('new_mail') ORDER BY name").Scan(&names); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"to", "hash", "date"} {
		if !strings.Contains(names, "."+key) {
			t.Errorf("there is no index on %s, only %q", key, names)
		}
	}
	var plan string
	var ignored int
	if err := db.QueryRow("EXPLAIN QUERY PLAN SELECT * FROM new_mail WHERE hash='x'").Scan(&ignored, &ignored, &ignored, &plan); err != nil || !strings.Contains(plan, "INDEX") {
		t.Errorf("the plan of a query by hash is %q, want an index (error %v)", plan, err)
	}
}

// TestTwoTables: two tables in one file have different indexes.
func TestTwoTables(t *testing.T) {
	o := options(t)
	other := o
	other.Table = "new_mail_to$2"
	saveOne(t, open(t, o), nil)
	saveOne(t, open(t, other), nil)
}

// TestFileDeleted: after the file was deleted, messages go to a new file.
func TestFileDeleted(t *testing.T) {
	o := options(t)
	s := open(t, o)
	saveOne(t, s, nil)
	for _, name := range []string{o.File, o.File + "-wal", o.File + "-shm"} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	saveOne(t, s, nil)
	checkRows(t, o.File, 1)
}

// TestWALDeleted: after the WAL or the wal-index was deleted, another program
// finds all committed messages in the file.
func TestWALDeleted(t *testing.T) {
	for _, suffix := range []string{"-wal", "-shm"} {
		t.Run(suffix[1:], func(t *testing.T) {
			o := options(t)
			s := open(t, o)
			saveOne(t, s, nil)
			if err := os.Remove(o.File + suffix); err != nil {
				t.Fatal(err)
			}
			saveOne(t, s, nil)
			checkRows(t, o.File, 2)
		})
	}
}

func TestFileReplaced(t *testing.T) {
	o := options(t)
	s := open(t, o)
	saveOne(t, s, nil)
	fresh := options(t)
	other := sqlite.New(fresh)
	saveOne(t, other, nil)
	saveOne(t, other, nil)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh.File, o.File); err != nil {
		t.Fatal(err)
	}
	saveOne(t, s, nil)
	checkRows(t, o.File, 3)
}

// TestFileMoved: a moved file has all messages that were acknowledged before the move,
// even the messages that were only in the WAL.
func TestFileMoved(t *testing.T) {
	var log test.Log
	o := options(t)
	o.Log = log.Logger()
	s := open(t, o)
	saveOne(t, s, nil)
	saveOne(t, s, nil)
	backup := o.File + ".old"
	if err := os.Rename(o.File, backup); err != nil {
		t.Fatal(err)
	}
	saveOne(t, s, nil)
	checkRows(t, o.File, 1)
	checkRows(t, backup, 2)
	if err := os.Rename(o.File, backup); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	os.Remove(o.File + "-wal")
	checkRows(t, backup, 1) // the file that was moved before Close
	if n := log.Count("SQLite file moved without the latest messages"); n > 0 {
		t.Errorf("the log reports missing messages:\n%s", log.String())
	}
}

// TestFileMovedWhileRead: if a file is moved while another program prevents a complete
// checkpoint, the log reports that the file lacks the latest messages.
func TestFileMovedWhileRead(t *testing.T) {
	var log test.Log
	o := options(t)
	o.Log = log.Logger()
	s := open(t, o)
	saveOne(t, s, nil)
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
	saveOne(t, s, nil)
	if err := os.Rename(o.File, o.File+".old"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // Save waits for the reader
	defer cancel()
	_ = s.Save(ctx, []*envelope.Envelope{storetest.Envelope(text, "b@example.com")})
	if n := log.Count("SQLite file moved without the latest messages"); n != 1 {
		t.Errorf("the log reports missing messages %d times, want 1:\n%s", n, log.String())
	}
	awaitSave(t, s)
}

// TestDirectoryCreatedLater: the store saves messages as soon as its directory exists,
// even if the directory was missing at the start.
func TestDirectoryCreatedLater(t *testing.T) {
	o := options(t)
	dir := filepath.Join(filepath.Dir(o.File), "not", "there")
	o.File = filepath.Join(dir, "mail.db")
	s := open(t, o)
	if err := saveOne(t, s, savemail.ErrUnavailable); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "mkdir "+dir) {
		t.Errorf("outcome %v, want %v of mkdir %s", err, fs.ErrNotExist, dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	awaitSave(t, s)
}

// TestReaderCreatesNothing: a Reader creates no file, whether or not a store
// has the file open.
func TestReaderCreatesNothing(t *testing.T) {
	o := options(t)
	if _, err := sqlite.NewReader(o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("NewReader of a missing file returns %v, want %v", err, fs.ErrNotExist)
	}
	s := open(t, o)
	saveOne(t, s, nil)
	read := func() {
		t.Helper()
		before := files(t, o.File)
		r, err := sqlite.NewReader(o)
		if err != nil {
			t.Fatal(err)
		}
		if list, err := r.List(t.Context(), savemail.Filter{N: 10}); err != nil || len(list) != 1 {
			t.Errorf("List returns %v, %v, want one message", list, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if after := files(t, o.File); !slices.Equal(before, after) {
			t.Errorf("there are the files %q, before the read %q", after, before)
		}
	}
	read()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	read()
}

// files returns the names of all files in the directory of a file.
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
