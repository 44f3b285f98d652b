package maildir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/savemail"
)

const (
	pieceFiles = 100 // files of a directory that one piece looks at
	sweepShare = 20  // a sweep follows after this multiple of the duration of the last one
)

// A sweep deletes the old files of new and cur, piece by piece.
type sweep struct {
	left   []string  // directories that follow dir
	dir    *os.File  // whose files are being read; it has the lock of Expire
	oldest time.Time // of the files that stay, so far
	took   time.Duration
	next   time.Time // before it, no sweep begins
	result time.Time // oldest at the end of the last sweep
}

// Expire looks at the next files and deletes those of the store that arrived before a
// time: their names begin with it. Programs may move files to cur, but files that are
// elsewhere stay. A lock on new makes other daemons wait.
func (s *Store) Expire(_ context.Context, before time.Time) (savemail.Expired, error) {
	w, began := &s.sweep, time.Now()
	if w.dir == nil {
		if w.left == nil {
			if began.Before(w.next) {
				return savemail.Expired{Oldest: w.result}, nil
			}
			w.left, w.took, w.oldest = []string{"new", "cur"}, 0, time.Time{}
		}
		dir, err := lockedDir(s.path(w.left[0], ""))
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
			w.left = nil
			return savemail.Expired{Oldest: w.result}, nil
		} else if err != nil {
			w.left = nil
			return savemail.Expired{}, fmt.Errorf("delete old messages: %w", err)
		}
		w.dir, w.left = dir, w.left[1:]
	}
	rows, done, err := w.piece(before)
	w.took += time.Since(began)
	if done || err != nil {
		err = errors.Join(err, w.close())
		if err != nil {
			w.left = nil
			return savemail.Expired{Rows: rows}, fmt.Errorf("delete old messages: %w", err)
		}
	}
	more := w.dir != nil || len(w.left) > 0
	if !more {
		w.left, w.result, w.next = nil, w.oldest, time.Now().Add(sweepShare*w.took)
	}
	return savemail.Expired{Rows: rows, More: more, Oldest: w.result}, nil
}

// close closes the directory, which releases its lock.
func (w *sweep) close() error {
	if w.dir == nil {
		return nil
	}
	err := w.dir.Close()
	w.dir = nil
	return err
}

// lockedDir opens a directory that no other daemon sweeps.
func lockedDir(path string) (*os.File, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		return nil, &fs.PathError{Op: "flock", Path: path, Err: err}
	}
	return dir, nil
}

// piece looks at the next files of the directory, and reports whether they are the last.
func (w *sweep) piece(before time.Time) (rows int, done bool, err error) {
	files, err := w.dir.ReadDir(pieceFiles)
	if done = errors.Is(err, io.EOF); done {
		err = nil
	}
	for _, f := range files {
		arrived, ours := arrival(f)
		switch {
		case !ours:
		case !arrived.Before(before):
			if w.oldest.IsZero() || arrived.Before(w.oldest) {
				w.oldest = arrived
			}
		default:
			removed := unix.Unlinkat(int(w.dir.Fd()), f.Name(), 0)
			if removed == nil {
				rows++
			} else if !errors.Is(removed, fs.ErrNotExist) {
				err = cmp.Or(err, removed)
			}
		}
	}
	return rows, done, err
}

// arrival returns when a file of a Store arrived. ours is false for any other file.
func arrival(f fs.DirEntry) (arrived time.Time, ours bool) {
	seconds, _, _ := strings.Cut(f.Name(), ".")
	when, err := strconv.ParseInt(seconds, 10, 64)
	return time.Unix(when, 0), err == nil && f.Type().IsRegular() && strings.Contains(f.Name(), ".goguerrilla,S=")
}

// Free returns the free bytes of the disk.
func (s *Store) Free() (int64, error) { return savemail.FreeSpace(s.dir) }
