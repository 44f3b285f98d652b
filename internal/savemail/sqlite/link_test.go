package sqlite_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/sqlite"
	"goguerrillad/internal/test/storetest"
)

// TestLinkedFileReadsWAL: readers read the WAL even if the path of the file contains a
// symbolic link.
func TestLinkedFileReadsWAL(t *testing.T) {
	o := options(t)
	dir := t.TempDir()
	for name, target := range map[string]string{
		"direct.db": o.File,
		"twice.db":  "direct.db",
		"dir":       filepath.Dir(o.File),
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{"direct.db", "twice.db", "dir/" + filepath.Base(o.File)} {
		o.File = filepath.Join(dir, link)
		s := open(t, o)
		e := storetest.Envelope(text, "a@example.com")
		if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
			t.Fatalf("%s: %v", link, err)
		}
		r, err := sqlite.NewReader(o)
		if err != nil {
			t.Fatalf("%s: %v", link, err)
		}
		if got, err := r.Show(t.Context(), e.To[0].Hash); err != nil || !bytes.Equal(got, e.AppendBlob(nil, 0)) {
			t.Errorf("%s: Show returns %q, want the message (error %v)", link, got, err)
		}
		if list, err := r.List(t.Context(), savemail.Filter{N: 1}); err != nil || len(list) != 1 || list[0].Hash != e.To[0].Hash {
			t.Errorf("%s: List returns %+v, want the hash %s (error %v)", link, list, e.To[0].Hash, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		// The table of recipients exists only in the WAL.
		table := "mailbox_" + filepath.Base(filepath.Dir(link)) + "_" + e.To[0].Hash
		execute(t, o.File, "CREATE TABLE \""+table+"\" (address TEXT)")
		q := query(t, "SELECT 1 FROM \""+table+"\" WHERE address=:address")
		if err := sqlite.TryRecipients(t.Context(), o, q, "a@b", "b"); err != nil {
			t.Errorf("%s: TryRecipients returns %v", link, err)
		}
		recipients := sqlite.NewRecipients(o, q)
		if _, err := recipients.Has(t.Context(), "a@b", "b"); err != nil {
			t.Errorf("%s: Has returns %v", link, err)
		}
		if err := recipients.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(o.File + "-wal"); link != "dir/"+filepath.Base(o.File) && err == nil {
			t.Errorf("%s: there is a WAL in the directory of the link", link)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestReaderRefusesPlantedFiles: a Reader opens no FIFO and no link in place of one of
// SQLite's files, and root follows no directory link of another user.
func TestReaderRefusesPlantedFiles(t *testing.T) {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		for kind, plant := range map[string]func(path string) error{
			"FIFO": func(path string) error { return unix.Mkfifo(path, 0o600) },
			"link": func(path string) error { return os.Symlink(os.DevNull, path) },
		} {
			o := options(t)
			if suffix != "" {
				execute(t, o.File, "CREATE TABLE new_mail (x)")
			}
			if err := plant(o.File + suffix); err != nil {
				t.Fatal(err)
			}
			if r, err := sqlite.NewReader(o); err == nil {
				t.Errorf("the Reader opens a %s at mail.db%s (Close returns %v)", kind, suffix, r.Close())
			}
		}
	}
	if os.Geteuid() != 0 {
		return // only root refuses links to directories
	}
	const other = 65534
	o := options(t)
	execute(t, o.File, "CREATE TABLE new_mail (x)")
	dir := filepath.Join(t.TempDir(), "dir")
	if err := errors.Join(os.Symlink(filepath.Dir(o.File), dir), os.Lchown(dir, other, other)); err != nil {
		t.Fatal(err)
	}
	target := o.File
	o.File = filepath.Join(dir, "mail.db")
	if r, err := sqlite.NewReader(o); err == nil {
		t.Errorf("root follows a link of another user (Close returns %v)", r.Close())
	}
	if err := os.Chown(target, other, other); err != nil {
		t.Fatal(err)
	}
	r, err := sqlite.NewReader(o)
	if err != nil {
		t.Fatalf("root does not follow a link of the file's owner: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestReaderRefusesReplacedFile: if a user replaces the checked file by a link,
// root does not read another database.
func TestReaderRefusesReplacedFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const other = 65534
	for _, replaced := range []string{"file", "directory"} {
		protected, o := options(t), options(t)
		execute(t, protected.File, "CREATE TABLE new_mail (x)")
		dir := filepath.Join(t.TempDir(), "state")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		o.File = filepath.Join(dir, filepath.Base(protected.File))
		execute(t, o.File, "CREATE TABLE new_mail (x)")
		if err := errors.Join(os.Chown(o.File, other, other), os.Chown(dir, other, other)); err != nil {
			t.Fatal(err)
		}
		r, err := sqlite.NewReader(o)
		if err != nil {
			t.Fatal(err)
		}
		path, target := o.File, protected.File
		if replaced == "directory" {
			path, target = dir, filepath.Dir(protected.File)
		}
		if err := errors.Join(os.Rename(path, path+".old"), os.Symlink(target, path), os.Lchown(path, other, other)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.List(t.Context(), savemail.Filter{N: 1}); err == nil || !strings.Contains(err.Error(), "replaced") {
			t.Errorf("%s replaced: List returns %v, want an error", replaced, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestListBounded: List cuts long values, which another program may have written.
func TestListBounded(t *testing.T) {
	o := options(t)
	s := open(t, o)
	e := storetest.Envelope(text, "a@example.com")
	e.Info.Subject = strings.Repeat("\u00e9", 1<<20)
	if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
		t.Fatal(err)
	}
	r, err := sqlite.NewReader(o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	list, err := r.List(t.Context(), savemail.Filter{N: 1})
	if err != nil || len(list) != 1 {
		t.Fatalf("List returns %d messages, want 1 (error %v)", len(list), err)
	}
	if list[0].Date.IsZero() {
		t.Error("the date is zero")
	}
	if want := strings.Repeat("\u00e9", 10_000); list[0].Subject != want {
		t.Errorf("the subject has %d bytes, want the first %d: %.50q", len(list[0].Subject), len(want), list[0].Subject)
	}
}
