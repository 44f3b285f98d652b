// Package maildir stores every message as a file, one for each recipient, in the
// directory new of a Maildir, where mail programs and scripts find it.
package maildir

import (
	"cmp"
	"context"
	"os"
	"sync"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
)

// Store is a Maildir: a directory with the directories tmp, new and cur.
type Store struct {
	dir string

	mu      sync.Mutex
	durable *os.File // the directory new whose path is durable; nil if none is known to be
}

// New returns the store in dir, which the first Save creates.
func New(dir string) *Store { return &Store{dir: dir} }

// Save makes the files of a batch and syncs their names in new together.
func (s *Store) Save(ctx context.Context, batch []*envelope.Envelope) []error {
	new, err := s.open() // before the files: the kernel reports a write that fails to those who have it open
	if err != nil {
		return savemail.Outcome(len(batch), err)
	}
	defer new.Close()
	errs, named := make([]error, len(batch)), make([]int, len(batch))
	for i, e := range batch {
		if errs[i] = ctx.Err(); errs[i] == nil {
			named[i], errs[i] = s.write(e)
		}
	}
	if err := s.syncNames(new); err != nil {
		s.forget()
		for i := range errs {
			errs[i] = cmp.Or(errs[i], err)
		}
	}
	s.undo(ctx, batch, named, errs)
	return errs
}

// write makes all files of a message, each whole and synced before it has its
// name in new. It returns how many have their names.
func (s *Store) write(e *envelope.Envelope) (named int, err error) {
	for i := 0; i < len(e.To) && err == nil; i++ {
		err = writeSynced(s.path("tmp", name(e, i)), e.Blob(i))
	}
	for named < len(e.To) && err == nil {
		if err = os.Rename(s.path("tmp", name(e, named)), s.path("new", name(e, named))); err == nil {
			named++
		}
	}
	for i := named; i < len(e.To) && err != nil; i++ {
		os.Remove(s.path("tmp", name(e, i)))
	}
	return named, err
}

// Close closes the directory.
func (s *Store) Close() error {
	s.forget()
	return nil
}
