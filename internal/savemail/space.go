package savemail

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/smtp"
)

// A Local is a Store whose messages are in files of this machine (GM_MIN_FREE).
type Local interface {
	// Free returns how many bytes the store can still write, for a user without
	// privileges. It may be called at any time and never waits for a Save.
	Free() (int64, error)
}

// FullError is the outcome of a message for which the store has too little free
// space. It counts as ErrUnavailable, and the client receives 452.
type FullError struct{ Free, Min int64 } // bytes

func (e *FullError) Error() string {
	if e.Free >= e.Min { // not yet enough to accept messages again
		return fmt.Sprintf("%d bytes free, not yet an eighth more than GM_MIN_FREE, which is %d", e.Free, e.Min)
	}
	return fmt.Sprintf("%d bytes free, less than GM_MIN_FREE, which is %d", e.Free, e.Min)
}

// Unwrap returns ErrUnavailable and the reply for the client.
func (e *FullError) Unwrap() []error { return []error{ErrUnavailable, smtp.ReplyNoSpace} }

// FreeSpace returns the free bytes of the file system that holds a path, or that will
// hold it (statfs(2)).
func FreeSpace(path string) (int64, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return 0, err
	}
	for {
		var s unix.Statfs_t
		err := unix.Statfs(path, &s)
		if err == nil {
			return int64(s.Bavail) * s.Frsize, nil
		}
		if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && parent != path {
			path = parent
			continue
		}
		return 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
}
