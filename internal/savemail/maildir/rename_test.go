package maildir_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/maildir"
	"goguerrillad/internal/savemail/storetest"
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
