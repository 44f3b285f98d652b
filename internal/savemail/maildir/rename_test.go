package maildir_test

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/maildir"
	"goguerrillad/internal/test/storetest"
)

// TestRenameFails: if the file of one recipient cannot be renamed to new, no other
// file of the message remains in new.
func TestRenameFails(t *testing.T) {
	dir := t.TempDir()
	s := maildir.New(dir)
	defer s.Close()
	e := storetest.Envelope("Subject: x\r\n\r\n", "a@example.com", "b@example.com", "c@example.com")
	if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "new", "*"))
	if err != nil || len(names) != 3 {
		t.Fatalf("new has the files %q, want 3 (error %v)", names, err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	// rename(2) cannot replace a directory by a file.
	if err := os.MkdirAll(filepath.Join(names[1], "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err == nil || errors.Is(err, savemail.ErrUnknown) {
		t.Errorf("outcome %v, want not stored", err)
	}
	if got, _ := filepath.Glob(filepath.Join(dir, "new", "*")); len(got) != 1 {
		t.Errorf("new has %q, want only the directory", got)
	}
	if got, _ := filepath.Glob(filepath.Join(dir, "tmp", "*")); len(got) != 0 {
		t.Errorf("tmp has %q, want no file", got)
	}
}

// A hook is a context whose Err calls f. Save and List call Err after they have
// opened new and before they use a file.
type hook struct {
	context.Context
	f func()
}

func (h hook) Err() error {
	h.f()
	return h.Context.Err()
}

// TestReplaced: if new is moved or replaced during a Save, the message is not
// stored.
func TestReplaced(t *testing.T) {
	for _, tt := range []struct {
		name    string
		replace func(dir string) error
		want    error // nil for any error but ErrUnknown
	}{
		{"moved", func(dir string) error { return os.Rename(dir, dir+".old") }, nil},
		{"replaced", func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o750))
		}, savemail.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := maildir.New(dir)
			defer s.Close()
			replace := sync.OnceFunc(func() {
				if err := tt.replace(filepath.Join(dir, "new")); err != nil {
					t.Error(err)
				}
			})
			e := storetest.Envelope("Subject: x\r\n\r\n", "a@example.com")
			if err := s.Save(hook{t.Context(), replace}, []*envelope.Envelope{e})[0]; err == nil || errors.Is(err, savemail.ErrUnknown) || !errors.Is(err, cmp.Or(tt.want, err)) {
				t.Errorf("outcome %v, want not stored", err)
			}
			if got, _ := filepath.Glob(filepath.Join(dir, "new*", "*")); len(got) != 0 {
				t.Errorf("there are the files %q, want none", got)
			}
			if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
				t.Errorf("outcome %v of the second Save, want nil", err)
			}
		})
	}
}
