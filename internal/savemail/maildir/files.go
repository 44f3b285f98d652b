package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
)

func (s *Store) path(dir, name string) string { return filepath.Join(s.dir, dir, name) }

// name is a file's: unlike any other, in the order of arrival, with the size
// that readers look for, and the hash to find it by. It has none of the
// characters that mean something in cur.
func name(e *envelope.Envelope, i int) string {
	return fmt.Sprintf("%010d.N%09dR%03d_%s.goguerrilla,S=%d",
		e.Date.Unix(), e.Date.Nanosecond(), i, e.To[i].Hash, e.BlobSize(i))
}

// open makes what is missing of the Maildir and returns the directory new, whose
// path is durable. The path is synced again after any failure, after a directory
// was made, and when new is another directory than it was: whoever made it need
// not have synced its name.
func (s *Store) open() (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, dir := range []string{s.dir, s.path("tmp", ""), s.path("new", ""), s.path("cur", "")} {
		switch err := os.Mkdir(dir, 0o750); {
		case err == nil:
			s.forgetLocked()
		case !errors.Is(err, fs.ErrExist):
			return nil, err
		}
	}
	new, err := os.Open(s.path("new", ""))
	if err != nil {
		return nil, err
	}
	if !same(s.durable, new) {
		if err := s.syncPath(); err != nil {
			return nil, errors.Join(err, new.Close())
		}
	}
	return new, nil
}

// syncPath makes the names of the Maildir and of its directories durable. It
// keeps new open, so that no other directory gets its inode number.
func (s *Store) syncPath() error {
	s.forgetLocked()
	new, err := os.Open(s.path("new", ""))
	if err != nil {
		return err
	}
	if err := errors.Join(savemail.SyncDir(s.dir), savemail.SyncName(s.dir)); err != nil {
		return errors.Join(err, new.Close())
	}
	s.durable = new
	return nil
}

func same(known, now *os.File) bool {
	if known == nil {
		return false
	}
	a, err := known.Stat()
	if err != nil {
		return false
	}
	b, err := now.Stat()
	return err == nil && os.SameFile(a, b)
}

// forget has the path synced again.
func (s *Store) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetLocked()
}

func (s *Store) forgetLocked() {
	if s.durable != nil {
		s.durable.Close() // nothing was written to it
		s.durable = nil
	}
}

// writeSynced makes a file that is on the disk.
func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// Times of undo.
const (
	minPause = 50 * time.Millisecond // between two attempts
	maxPause = time.Second
	undoTime = 10 * time.Second // for a Save without a deadline
)

// undo takes back the names of the messages that have failed, so that for sure
// they are not stored. It tries again for up to a third of the time that is left.
// If it fails, or if a mail program has taken a file, the outcome is unknown.
func (s *Store) undo(ctx context.Context, batch []*envelope.Envelope, named []int, errs []error) {
	left, taken := slices.Clone(named), make([]bool, len(batch))
	for i, err := range errs {
		if err == nil {
			left[i] = 0
		}
	}
	if slices.Max(left) == 0 {
		return
	}
	limit := undoTime
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline) / 3
	}
	undoing, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := s.unname(batch, left, taken)
	for pause := minPause; err != nil && undoing.Err() == nil; pause = min(2*pause, maxPause) {
		select {
		case <-undoing.Done():
		case <-time.After(pause):
			err = s.unname(batch, left, taken)
		}
	}
	for i := range errs {
		kind := savemail.ErrUnavailable
		if named[i] > 0 && (err != nil || taken[i]) {
			kind = savemail.ErrUnknown
		}
		if errs[i] != nil {
			errs[i] = fmt.Errorf("%w: %w", kind, errs[i])
		}
	}
}

// unname removes the names that are left, durably, and takes note of those that
// are not there any more.
func (s *Store) unname(batch []*envelope.Envelope, left []int, taken []bool) error {
	new, err := s.open()
	if err != nil {
		return err
	}
	defer new.Close()
	for i, e := range batch {
		for ; left[i] > 0; left[i]-- {
			err := os.Remove(s.path("new", name(e, left[i]-1)))
			if errors.Is(err, fs.ErrNotExist) {
				taken[i] = true
			} else if err != nil {
				return err
			}
		}
	}
	return s.syncNames(new)
}

// syncNames makes the names in new durable, if new is still in its place. ext4 may
// report success for a sync when its journal has just failed, so a change must
// succeed after it: of the directory's times, which needs the journal.
func (s *Store) syncNames(new *os.File) error {
	if err := new.Sync(); err != nil {
		return err
	}
	if err := unix.UtimesNanoAt(int(new.Fd()), ".", nil, 0); err != nil {
		return fmt.Errorf("change %s after its sync: %w", new.Name(), err)
	}
	opened, err := new.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Stat(new.Name()); err != nil || !os.SameFile(opened, now) {
		return fmt.Errorf("%s was moved, replaced or deleted", new.Name())
	}
	return nil
}
