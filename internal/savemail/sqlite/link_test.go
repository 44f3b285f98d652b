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
	"goguerrillad/internal/savemail/sqlite"
	"goguerrillad/internal/test/storetest"
)

// TestLinkedFileReadsWAL: where the path of the file is a symbolic link, also one
// to a link or below a linked directory, every reader sees what is in the WAL.
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
		if mail, err := r.Show(t.Context(), e.To[0].Hash); err != nil || !bytes.Equal(mail, e.AppendBlob(nil, 0)) {
			t.Errorf("show through %s: %d bytes, %v", link, len(mail), err)
		}
		if list, err := r.List(t.Context(), 1); err != nil || len(list) != 1 || list[0].Hash != e.To[0].Hash {
			t.Errorf("list through %s: %+v, %v", link, list, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		// The table of recipients exists only in the WAL.
		table := "mailbox_" + filepath.Base(filepath.Dir(link)) + "_" + e.To[0].Hash
		execute(t, o.File, "CREATE TABLE \""+table+"\" (address TEXT)")
		q := query(t, "SELECT 1 FROM \""+table+"\" WHERE address=:address")
		if err := sqlite.TryRecipients(t.Context(), o, q, "a@b", "b"); err != nil {
			t.Errorf("try the query through %s: %v", link, err)
		}
		recipients := sqlite.NewRecipients(o, q)
		if _, err := recipients.Has(t.Context(), "a@b", "b"); err != nil {
			t.Errorf("query through %s: %v", link, err)
		}
		if err := recipients.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(o.File + "-wal"); link != "dir/"+filepath.Base(o.File) && err == nil {
			t.Errorf("a WAL beside %s", link)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestReaderRefusesPlantedFiles: neither a FIFO nor a link beside the file, nor a
// link of another user on the way to it, is opened.
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
				t.Errorf("a %s as %q is opened: %v", kind, "mail.db"+suffix, r.Close())
			}
		}
	}
	if os.Geteuid() != 0 {
		return // only root must not follow every link
	}
	const other = 65534
	o := options(t)
	execute(t, o.File, "CREATE TABLE new_mail (x)")
	dir := filepath.Join(t.TempDir(), "dir")
	if err := errors.Join(os.Symlink(filepath.Dir(o.File), dir), os.Lchown(dir, other, other)); err != nil {
		t.Fatal(err)
	}
	real := o.File
	o.File = filepath.Join(dir, "mail.db")
	if r, err := sqlite.NewReader(o); err == nil {
		t.Errorf("root follows a link of another user: %v", r.Close())
	}
	if err := os.Chown(real, other, other); err != nil {
		t.Fatal(err)
	}
	r, err := sqlite.NewReader(o)
	if err != nil {
		t.Fatalf("root does not follow the owner's link: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestReaderRefusesReplacedFile: a user who replaces the file by a link after it
// was checked does not have root read another database.
func TestReaderRefusesReplacedFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const other = 65534
	for _, replaced := range []string{"file", "directory"} {
		roots, o := options(t), options(t)
		execute(t, roots.File, "CREATE TABLE new_mail (x)")
		dir := filepath.Join(t.TempDir(), "state")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		o.File = filepath.Join(dir, filepath.Base(roots.File))
		execute(t, o.File, "CREATE TABLE new_mail (x)")
		if err := errors.Join(os.Chown(o.File, other, other), os.Chown(dir, other, other)); err != nil {
			t.Fatal(err)
		}
		r, err := sqlite.NewReader(o)
		if err != nil {
			t.Fatal(err)
		}
		path, target := o.File, roots.File
		if replaced == "directory" {
			path, target = dir, filepath.Dir(roots.File)
		}
		if err := errors.Join(os.Rename(path, path+"-away"), os.Symlink(target, path), os.Lchown(path, other, other)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.List(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "replaced") {
			t.Errorf("%s: %v", replaced, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestListBounded: what another program has put into the table does not fill the
// memory of -list.
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
	list, err := r.List(t.Context(), 1)
	if err != nil || len(list) != 1 || list[0].Date.IsZero() || list[0].Subject != strings.Repeat("\u00e9", 10_000) {
		t.Errorf("%d messages, %v", len(list), err)
	}
}
