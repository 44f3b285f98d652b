package maildir_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/maildir"
	"goguerrillad/internal/test/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		dir := filepath.Join(t.TempDir(), "Maildir")
		open := func(*testing.T) savemail.Store { return maildir.New(dir) }
		return storetest.Harness{
			Store: open(t), Reopen: open, MailsOnly: true,
			Rows: func(t *testing.T) []storetest.Row { return files(t, filepath.Join(dir, "new")) },
			Reader: func(t *testing.T) savemail.Reader {
				r, err := maildir.NewReader(dir)
				if err != nil {
					t.Fatal(err)
				}
				return r
			},
		}
	})
}

// files returns the messages in a directory in the order of their file names.
func files(t *testing.T, dir string) (rows []storetest.Row) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		message, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(entry.Name(), "_")
		hash, _, _ := strings.Cut(rest, ".")
		rows = append(rows, storetest.Row{Hash: hash, Mail: message})
	}
	return rows
}

// TestAllOrNone: if the file of one recipient cannot be created, no other file
// of the message remains.
func TestAllOrNone(t *testing.T) {
	dir := t.TempDir()
	s := maildir.New(dir)
	e := storetest.Envelope("Subject: x\r\n\r\n", "a@example.com", "b@example.com", "c@example.com")
	e.To[1].Hash = "no/such/directory"
	good := storetest.Envelope("Subject: x\r\n\r\n", "d@example.com")
	errs := s.Save(t.Context(), []*envelope.Envelope{e, good})
	if errs[0] == nil || errors.Is(errs[0], savemail.ErrUnknown) {
		t.Errorf("outcome %v of the message with the invalid hash, want not stored", errs[0])
	}
	if errs[1] != nil {
		t.Errorf("outcome %v of the other message, want nil", errs[1])
	}
	if rows := files(t, filepath.Join(dir, "new")); len(rows) != 1 || rows[0].Hash != good.To[0].Hash {
		t.Errorf("new has %d files, want only %s", len(rows), good.To[0].Hash)
	}
	if rows := files(t, filepath.Join(dir, "tmp")); len(rows) != 0 {
		t.Errorf("tmp has %d files, want 0", len(rows))
	}
}

// TestNoDirectory: if no directory can be created, the message is certainly not
// stored.
func TestNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := maildir.New(filepath.Join(file, "Maildir"))
	err := s.Save(t.Context(), []*envelope.Envelope{storetest.Envelope("Subject: x\r\n\r\n", "a@example.com")})[0]
	if err == nil || errors.Is(err, savemail.ErrUnknown) {
		t.Errorf("outcome %v, want not stored", err)
	}
}

// TestModes: only the user and the group may read messages, with any umask.
func TestModes(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	dir := filepath.Join(t.TempDir(), "mail")
	if err := maildir.New(dir).Save(t.Context(), []*envelope.Envelope{storetest.Envelope("Subject: x\r\n\r\n", "a@example.com")})[0]; err != nil {
		t.Fatal(err)
	}
	count := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o640)
		if d.IsDir() {
			want = 0o750
		} else {
			count++
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil || count != 1 {
		t.Errorf("there are %d files, want 1 (error %v)", count, err)
	}
}

// TestReader: a Reader reads messages that a mail program has moved to cur, and
// ignores files of other programs.
func TestReader(t *testing.T) {
	dir := t.TempDir()
	s := maildir.New(dir)
	e := storetest.Envelope("Subject: =?utf-8?Q?gr=C3=BC=C3=9Fe?=\r\n\r\ntext\r\n", "b@example.com")
	if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "new"))
	if err != nil {
		t.Fatal(err)
	}
	name := entries[0].Name()
	if err := errors.Join(
		os.Rename(filepath.Join(dir, "new", name), filepath.Join(dir, "cur", name+":2,S")),
		os.WriteFile(filepath.Join(dir, "new", "9999999999.other.program"), []byte("Subject: other\r\n\r\n"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	r, err := maildir.NewReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := r.List(t.Context(), savemail.Filter{N: 10})
	if err != nil || len(list) != 1 {
		t.Fatalf("List returns %+v, want one message (error %v)", list, err)
	}
	if list[0].Subject != "grüße" {
		t.Errorf("the subject is %q, want %q", list[0].Subject, "grüße")
	}
	if want := int64(e.BlobSize(0)); list[0].Size != want {
		t.Errorf("the size is %d, want %d", list[0].Size, want)
	}
	if got, err := r.Show(t.Context(), e.To[0].Hash); err != nil || string(got) != string(e.Blob(0)) {
		t.Errorf("Show returns %q, want %q (error %v)", got, e.Blob(0), err)
	}
	if _, err := maildir.NewReader(filepath.Join(dir, "none")); err == nil {
		t.Error("NewReader of a missing directory returns no error")
	}
}

// TestReaderOpensRegularFilesOnly: files of another user in the Maildir do not
// block a Reader and do not make it read a file outside the Maildir.
func TestReaderOpensRegularFilesOnly(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	s := maildir.New(dir)
	e := storetest.Envelope("Subject: x\r\n\r\n", "b@example.com")
	if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
		t.Fatal(err)
	}
	planted := func(digit string) string {
		return "99999999" + digit + "0.N000000000R000_" + strings.Repeat(digit, 32) + ".goguerrilla,S=6"
	}
	secret := filepath.Join(outside, planted("3"))
	if err := errors.Join(
		os.WriteFile(secret, []byte("secret"), 0o600),
		os.Symlink(secret, filepath.Join(dir, "new", planted("1"))),
		unix.Mkfifo(filepath.Join(dir, "new", planted("2")), 0o600),
		os.Mkdir(filepath.Join(dir, "new", planted("4")), 0o700),
	); err != nil {
		t.Fatal(err)
	}
	r, err := maildir.NewReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := r.List(t.Context(), savemail.Filter{N: 10}); err != nil || len(list) != 1 || list[0].Hash != e.To[0].Hash {
		t.Errorf("List returns %+v, want only %s (error %v)", list, e.To[0].Hash, err)
	}
	for _, digit := range []string{"1", "2", "3", "4"} {
		if got, err := r.Show(t.Context(), strings.Repeat(digit, 32)); !errors.Is(err, savemail.ErrNotFound) {
			t.Errorf("%s: Show returns %q, %v, want %v", planted(digit), got, err, savemail.ErrNotFound)
		}
	}
	huge := filepath.Join(dir, "new", planted("5"))
	if err := errors.Join(os.WriteFile(huge, nil, 0o600), os.Truncate(huge, savemail.MaxBlob+1)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Show(t.Context(), strings.Repeat("5", 32)); err == nil {
		t.Error("Show of a file with more than MaxBlob bytes returns no error")
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}

	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "cur")), os.Symlink(outside, filepath.Join(dir, "cur"))); err != nil {
		t.Fatal(err)
	}
	if _, err := maildir.NewReader(dir); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "cur")) {
		t.Errorf("NewReader with a link in place of cur returns %v, want an error with its path", err)
	}
}

// TestReaderRefusesPlantedMaildir: if another user replaces the Maildir by a
// link, root reads only a Maildir of that user.
func TestReaderRefusesPlantedMaildir(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const other = 65534
	target, link := filepath.Join(t.TempDir(), "Maildir"), filepath.Join(t.TempDir(), "Maildir")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(target, "new"), 0o700),
		os.Symlink(target, link),
		os.Lchown(link, other, other),
	); err != nil {
		t.Fatal(err)
	}
	if r, err := maildir.NewReader(link); err == nil {
		t.Errorf("root follows a link of another user (Close returns %v)", r.Close())
	}
	if err := os.Chown(target, other, other); err != nil {
		t.Fatal(err)
	}
	r, err := maildir.NewReader(link)
	if err != nil {
		t.Fatalf("root does not follow the link of the owner: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
