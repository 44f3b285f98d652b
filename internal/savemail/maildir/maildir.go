// Package maildir stores each message in the directory new of a Maildir, as one
// file for each recipient.
package maildir

import (
	"cmp"
	"context"
	"os"
	"sync"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
)

// A Store is a Maildir: a directory with the directories tmp, new and cur
// (https://cr.yp.to/proto/maildir.html).
type Store struct {
	dir string

	mu      sync.Mutex
	durable *os.File // the directory new if its path is durable, or nil

	sweep sweep // used by Expire only
}

// New returns the store in dir. The first Save creates the directories.
func New(dir string) *Store { return &Store{dir: dir} }

// Save creates the files of the batch and then syncs new once for all of them.
func (s *Store) Save(ctx context.Context, batch []*envelope.Envelope) []error {
	newDir, err := s.openNew() // before any rename: the kernel reports a failed write only to descriptors that are open then
	if err != nil {
		return savemail.Outcome(len(batch), err)
	}
	defer newDir.Close()
	errs, named := make([]error, len(batch)), make([]int, len(batch))
	for i, e := range batch {
		if errs[i] = ctx.Err(); errs[i] == nil {
			named[i], errs[i] = s.write(e)
		}
	}
	if err := s.syncNames(newDir); err != nil {
		s.invalidate()
		for i := range errs {
			errs[i] = cmp.Or(errs[i], err)
		}
	}
	s.undo(ctx, batch, named, errs)
	return errs
}

// write creates the files of a message in tmp, syncs them, and renames them to
// new. It returns the number of renamed files.
func (s *Store) write(e *envelope.Envelope) (named int, err error) {
	for i := 0; i < len(e.To) && err == nil; i++ {
		err = writeSynced(s.path("tmp", fileName(e, i)), e.Blob(i))
	}
	for named < len(e.To) && err == nil {
		if err = os.Rename(s.path("tmp", fileName(e, named)), s.path("new", fileName(e, named))); err == nil {
			named++
		}
	}
	for i := named; i < len(e.To) && err != nil; i++ {
		os.Remove(s.path("tmp", fileName(e, i)))
	}
	return named, err
}

// Close closes the directories that syncPath and Expire keep open.
func (s *Store) Close() error {
	s.invalidate()
	return s.sweep.close()
}
