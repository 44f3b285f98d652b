// Package maildir stores every mail as a file, one for each recipient, in the
// directory new of a Maildir, where mail programs and scripts find it.
package maildir

import (
	"context"
	"os"

	"goguerrillad/internal/envelope"
)

// Store is a Maildir: a directory with the directories tmp, new and cur.
type Store struct{ Dir string }

// Save makes the files of a batch; its names in new are synced together.
func (s Store) Save(ctx context.Context, batch []*envelope.Envelope) []error {
	errs := make([]error, len(batch))
	for i, e := range batch {
		if errs[i] = ctx.Err(); errs[i] == nil {
			errs[i] = s.write(e)
		}
	}
	if err := syncDir(s.path("new", "")); err != nil {
		unknown(errs, err)
	}
	return errs
}

// write makes all files of a mail, each whole and synced before it has its
// name in new, or none.
func (s Store) write(e *envelope.Envelope) error {
	err := s.makeDirs()
	for i := 0; i < len(e.To) && err == nil; i++ {
		err = writeSynced(s.path("tmp", name(e, i)), e.Blob(i))
	}
	for i := 0; i < len(e.To) && err == nil; i++ {
		err = os.Rename(s.path("tmp", name(e, i)), s.path("new", name(e, i)))
	}
	for i := 0; i < len(e.To) && err != nil; i++ {
		os.Remove(s.path("tmp", name(e, i)))
		os.Remove(s.path("new", name(e, i)))
	}
	return err
}

// Close has nothing to close.
func (s Store) Close() error { return nil }
