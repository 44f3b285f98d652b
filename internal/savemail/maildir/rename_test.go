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

// TestRenameFails: where one recipient's file cannot be moved to new, no other
// stays there.
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
		t.Fatalf("files %q, %v", names, err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	// A file cannot take the place of a directory.
	if err := os.MkdirAll(filepath.Join(names[1], "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err == nil || errors.Is(err, savemail.ErrUnknown) {
		t.Errorf("outcome %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "new", "*")); len(left) != 1 {
		t.Errorf("files in new: %q", left)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "tmp", "*")); len(left) != 0 {
		t.Errorf("files in tmp: %q", left)
	}
}

// A hook is a context that is asked between the opening of new and the first file.
type hook struct {
	context.Context
	f func()
}

func (h hook) Err() error {
	h.f()
	return h.Context.Err()
}

// TestReplaced: a message whose name is in another directory than the one that was
// synced is not stored.
func TestReplaced(t *testing.T) {
	for _, tt := range []struct {
		name    string
		replace func(dir string) error
		want    error // nil for any
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
			if err := s.Save(hook{t.Context(), replace}, []*envelope.Envelope{e})[0]; err == nil || !errors.Is(err, cmp.Or(tt.want, err)) {
				t.Errorf("outcome %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "new*", "*")); len(left) != 0 {
				t.Errorf("files %q", left)
			}
			if err := s.Save(t.Context(), []*envelope.Envelope{e})[0]; err != nil {
				t.Errorf("again: %v", err)
			}
		})
	}
}
