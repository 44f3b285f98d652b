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

// files are the mails in a directory, in the order of their names.
func files(t *testing.T, dir string) (rows []storetest.Row) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		mail, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(entry.Name(), "_")
		hash, _, _ := strings.Cut(rest, ".")
		rows = append(rows, storetest.Row{Hash: hash, Mail: mail})
	}
	return rows
}

// TestAllOrNone: where one recipient's file cannot be made there is no other.
func TestAllOrNone(t *testing.T) {
	dir := t.TempDir()
	s := maildir.New(dir)
	e := storetest.Envelope("Subject: x\r\n\r\n", "a@example.com", "b@example.com", "c@example.com")
	e.To[1].Hash = "no/such/directory"
	good := storetest.Envelope("Subject: x\r\n\r\n", "d@example.com")
	errs := s.Save(t.Context(), []*envelope.Envelope{e, good})
	if errs[0] == nil || errors.Is(errs[0], savemail.ErrUnknown) || errs[1] != nil {
		t.Errorf("outcomes %v", errs)
	}
	if rows := files(t, filepath.Join(dir, "new")); len(rows) != 1 || rows[0].Hash != good.To[0].Hash {
		t.Errorf("%d files", len(rows))
	}
	if rows := files(t, filepath.Join(dir, "tmp")); len(rows) != 0 {
		t.Errorf("%d files are left in tmp", len(rows))
	}
}

// TestNowhere: where no directory can be made nothing is stored, for sure.
func TestNowhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := maildir.New(filepath.Join(file, "Maildir"))
	err := s.Save(t.Context(), []*envelope.Envelope{storetest.Envelope("Subject: x\r\n\r\n", "a@example.com")})[0]
	if err == nil || errors.Is(err, savemail.ErrUnknown) {
		t.Errorf("outcome %v", err)
	}
}

// TestModes: nobody but the user and the group may read mail, whatever the umask.
func TestModes(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	dir := filepath.Join(t.TempDir(), "mail")
	if err := maildir.New(dir).Save(t.Context(), []*envelope.Envelope{storetest.Envelope("Subject: x\r\n\r\n", "a@example.com")})[0]; err != nil {
		t.Fatal(err)
	}
	files := 0
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
			files++
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil || files != 1 {
		t.Errorf("%d files, %v", files, err)
	}
}

// TestReader reads what a mail program has moved to cur, and leaves alone what
// others have put there.
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
		os.WriteFile(filepath.Join(dir, "new", "9999999999.somebody.else"), []byte("Subject: other\r\n\r\n"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	r, err := maildir.NewReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := r.List(t.Context(), 10)
	if err != nil || len(list) != 1 || list[0].Subject != "grüße" || list[0].Size != int64(e.BlobSize(0)) {
		t.Errorf("%+v, %v", list, err)
	}
	if mail, err := r.Show(t.Context(), e.To[0].Hash); err != nil || string(mail) != string(e.Blob(0)) {
		t.Errorf("%q, %v", mail, err)
	}
	if _, err := maildir.NewReader(filepath.Join(dir, "none")); err == nil {
		t.Error("a reader of nothing")
	}
}

// TestReaderOpensRegularFilesOnly: what another user puts into the Maildir neither
// blocks a reader nor leads it out of the Maildir.
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
	if list, err := r.List(t.Context(), 10); err != nil || len(list) != 1 || list[0].Hash != e.To[0].Hash {
		t.Errorf("%+v, %v", list, err)
	}
	for _, digit := range []string{"1", "2", "3", "4"} {
		if mail, err := r.Show(t.Context(), strings.Repeat(digit, 32)); !errors.Is(err, savemail.ErrNotFound) {
			t.Errorf("%s: %q, %v", planted(digit), mail, err)
		}
	}
	huge := filepath.Join(dir, "new", planted("5"))
	if err := errors.Join(os.WriteFile(huge, nil, 0o600), os.Truncate(huge, savemail.MaxBlob+1)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Show(t.Context(), strings.Repeat("5", 32)); err == nil {
		t.Error("a file of more than MaxBlob bytes is a message")
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}

	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "cur")), os.Symlink(outside, filepath.Join(dir, "cur"))); err != nil {
		t.Fatal(err)
	}
	if _, err := maildir.NewReader(dir); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "cur")) {
		t.Errorf("a link in place of a directory: %v", err)
	}
}

// TestReaderRefusesPlantedMaildir: another user who replaces the Maildir by a link
// does not have root read a Maildir that is not that user's.
func TestReaderRefusesPlantedMaildir(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const other = 65534
	roots, link := filepath.Join(t.TempDir(), "Maildir"), filepath.Join(t.TempDir(), "Maildir")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(roots, "new"), 0o700),
		os.Symlink(roots, link),
		os.Lchown(link, other, other),
	); err != nil {
		t.Fatal(err)
	}
	if r, err := maildir.NewReader(link); err == nil {
		t.Errorf("root follows a link of another user: %v", r.Close())
	}
	if err := os.Chown(roots, other, other); err != nil {
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
