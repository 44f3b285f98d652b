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

// fileName returns the name of a recipient's file. The name is unique, sorts by the
// time of arrival, and contains the hash and, as in Maildir++, the size (S=). It
// has no ':', which starts the flags of a file in cur.
func fileName(e *envelope.Envelope, i int) string {
	return fmt.Sprintf("%010d.N%09dR%03d_%s.goguerrilla,S=%d",
		e.Date.Unix(), e.Date.Nanosecond(), i, e.To[i].Hash, e.BlobSize(i))
}

// openNew creates the missing directories of the Maildir, opens new, and makes the
// path of new durable. It syncs the path only at first, after a failure, after it has
// created a directory, and if another program has replaced new, since that program
// may not have synced its name.
func (s *Store) openNew() (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, dir := range []string{s.dir, s.path("tmp", ""), s.path("new", ""), s.path("cur", "")} {
		switch err := os.Mkdir(dir, 0o750); {
		case err == nil:
			s.invalidateLocked()
		case !errors.Is(err, fs.ErrExist):
			return nil, err
		}
	}
	newDir, err := os.Open(s.path("new", ""))
	if err != nil {
		return nil, err
	}
	if !sameFile(s.durable, newDir) {
		if err := s.syncPath(); err != nil {
			return nil, errors.Join(err, newDir.Close())
		}
	}
	return newDir, nil
}

// syncPath makes the names of the Maildir and of its directories durable. It keeps
// new open, so that the kernel cannot give its inode number to another directory.
func (s *Store) syncPath() error {
	s.invalidateLocked()
	newDir, err := os.Open(s.path("new", ""))
	if err != nil {
		return err
	}
	if err := errors.Join(savemail.SyncDir(s.dir), savemail.SyncName(s.dir)); err != nil {
		return errors.Join(err, newDir.Close())
	}
	s.durable = newDir
	return nil
}

// sameFile reports whether a and b are the same file; a may be nil.
func sameFile(a, b *os.File) bool {
	if a == nil {
		return false
	}
	infoA, err := a.Stat()
	if err != nil {
		return false
	}
	infoB, err := b.Stat()
	return err == nil && os.SameFile(infoA, infoB)
}

// invalidate makes the next openNew sync the path again.
func (s *Store) invalidate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.invalidateLocked()
}

func (s *Store) invalidateLocked() {
	if s.durable != nil {
		s.durable.Close()
		s.durable = nil
	}
}

// writeSynced creates a file with this content and syncs it.
func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

const (
	minBackoff  = 50 * time.Millisecond // first pause between attempts of undo
	maxBackoff  = time.Second
	undoTimeout = 10 * time.Second // for a Save without a deadline
)

// undo removes the files of failed messages from new, so that these messages are
// certainly not stored. It retries for up to a third of the time that ctx has left. If
// it cannot remove a file, or if another program has moved or deleted one, the
// outcome of the message is ErrUnknown.
func (s *Store) undo(ctx context.Context, batch []*envelope.Envelope, named []int, errs []error) {
	remaining, missing := slices.Clone(named), make([]bool, len(batch))
	for i, err := range errs {
		if err == nil {
			remaining[i] = 0
		}
	}
	if slices.Max(remaining) == 0 {
		return
	}
	limit := undoTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline) / 3
	}
	undoing, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := s.removeNames(batch, remaining, missing)
	for backoff := minBackoff; err != nil && undoing.Err() == nil; backoff = min(2*backoff, maxBackoff) {
		select {
		case <-undoing.Done():
		case <-time.After(backoff):
			err = s.removeNames(batch, remaining, missing)
		}
	}
	for i := range errs {
		kind := savemail.ErrUnavailable
		if named[i] > 0 && (err != nil || missing[i]) {
			kind = savemail.ErrUnknown
		}
		if errs[i] != nil {
			errs[i] = fmt.Errorf("%w: %w", kind, errs[i])
		}
	}
}

// removeNames durably removes the first remaining[i] files of each message i from
// new. It sets missing[i] if another program has moved or deleted one of them.
func (s *Store) removeNames(batch []*envelope.Envelope, remaining []int, missing []bool) error {
	newDir, err := s.openNew()
	if err != nil {
		return err
	}
	defer newDir.Close()
	for i, e := range batch {
		for ; remaining[i] > 0; remaining[i]-- {
			err := os.Remove(s.path("new", fileName(e, remaining[i]-1)))
			if errors.Is(err, fs.ErrNotExist) {
				missing[i] = true
			} else if err != nil {
				return err
			}
		}
	}
	return s.syncNames(newDir)
}

// syncNames makes the names in new durable. It returns an error if new is no longer
// at its path. ext4 may report success for a sync although its journal has just
// failed; changing the directory's times then fails, since it needs the journal.
func (s *Store) syncNames(newDir *os.File) error {
	if err := newDir.Sync(); err != nil {
		return err
	}
	if err := unix.UtimesNanoAt(int(newDir.Fd()), ".", nil, 0); err != nil {
		return fmt.Errorf("change %s after its sync: %w", newDir.Name(), err)
	}
	opened, err := newDir.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Stat(newDir.Name()); err != nil || !os.SameFile(opened, now) {
		return fmt.Errorf("sync %s: the directory was moved, replaced or deleted", newDir.Name())
	}
	return nil
}

// Check returns an error if the user may not create files in the Maildir. It creates
// nothing.
func (s *Store) Check(context.Context) error {
	if err := writable(s.dir); err != nil {
		return fmt.Errorf("%w: %w", savemail.ErrUnavailable, err)
	}
	return nil
}

// writable returns an error if the user may not create files in tmp and new, or these
// directories themselves.
func writable(dir string) error {
	for _, name := range []string{"tmp", "new"} {
		path := filepath.Join(dir, name)
		for i := 0; ; i++ {
			err := unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
			if err == nil {
				break
			}
			if i == 2 || !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("create files in %s: %w", path, err)
			}
			path = filepath.Dir(path)
		}
	}
	return nil
}
