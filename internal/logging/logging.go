// Package logging writes the daemon's log to standard error, to the journal with
// native fields, or to a file that can be reopened. Logging never blocks: lines go
// to a bounded buffer, and one goroutine writes them.
package logging

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/rootpath"
)

// A Log is a slog.Logger with an output that can be replaced. Its methods may be
// called from any goroutine, except that Reopen and Close must not run concurrently.
type Log struct {
	*slog.Logger
	level slog.LevelVar

	mu     sync.RWMutex // read-locked while a record is formatted and put into the buffer
	out    *writer
	native bool // out writes entries of the journal, not text
	stderr bool // out is standard error
}

// Open opens a log in the file at path, or on standard error if path is "". It
// sets the owner of the file, so that Reopen works after the daemon has dropped root.
func Open(path string, owner Owner) (*Log, error) {
	out, err := open(path, owner)
	if err != nil {
		return nil, err
	}
	return newLog(out, isStderr(path)), nil
}

func newLog(out output, stderr bool) *Log {
	_, native := out.(*journal)
	l := &Log{out: newWriter(out), native: native, stderr: stderr}
	options := &slog.HandlerOptions{Level: &l.level}
	if UnderJournal() {
		options.ReplaceAttr = l.withoutTime
	}
	l.Logger = slog.New(handler{
		log:     l,
		text:    slog.NewTextHandler(buffer{l}, options),
		journal: newJournalHandler(buffer{l}, &l.level),
	})
	return l
}

// Owner is the owner of a log file.
type Owner struct {
	Change   bool // false leaves the owner unchanged
	UID, GID int
}

// SetVerbose turns debug messages on or off.
func (l *Log) SetVerbose(verbose bool) {
	l.level.Set(slog.LevelInfo)
	if verbose {
		l.level.Set(slog.LevelDebug)
	}
}

// Reopen opens the file at path, which may have been created since Open, and
// continues the log there. After an error, the log continues in the old file. Reopen
// waits up to 2 s for a blocked old output if it replaces the journal with a file, or
// a file with the journal.
func (l *Log) Reopen(path string) error {
	out, err := open(path, Owner{})
	if err != nil {
		return err
	}
	l.use(out, isStderr(path))
	return nil
}

// use replaces the output.
func (l *Log) use(out output, stderr bool) {
	_, native := out.(*journal)
	l.mu.Lock()
	l.stderr = stderr
	if native == l.native {
		l.out.replace(out)
		l.mu.Unlock()
		return
	}
	// The lines in the buffer have the form of the old output and must go there.
	last, next := l.out, makeWriter(out)
	l.out, l.native = next, native
	l.mu.Unlock()
	next.follow(last)
}

// Check opens and closes the output at path. It returns the error that Reopen would
// return.
func Check(path string) error {
	f, err := open(path, Owner{})
	if err != nil {
		return err
	}
	return f.Close()
}

// Verify returns an error if the file at path cannot be opened, or created, by this user. It
// creates no file.
func Verify(path string) error {
	if isStderr(path) || path == "/dev/stdout" {
		return nil
	}
	if _, err := os.Lstat(path); err == nil {
		return Check(path)
	}
	dir, err := rootpath.Dir(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("open log file: %w", err)
	}
	defer dir.Close()
	if err := unix.Faccessat(int(dir.Fd()), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("create log file %s: %w", path, err)
	}
	return nil
}

// Close writes the lines in the buffer and closes the log. It returns an error if
// the last lines were not written within 2 s.
func (l *Log) Close() error { return l.out.close() }

// isStderr reports whether path selects standard error.
func isStderr(path string) bool { return path == "" || path == "/dev/stderr" }

// mode is the mode of a new log file, independent of the umask. The group may read
// the file. Other users must not, since it contains senders and recipients.
const mode = 0o640

// open opens the output at path for appending. /dev/stdout and /dev/stderr, which
// configurations from 2012 contain, select the streams of the process.
//
// A user who can write to the directory must not make root append to another file.
// Therefore open follows no symbolic link at path, follows links to directories only
// by the rule of rootpath.Dir, and refuses a file with several hard links if it changes
// the owner. It refuses a FIFO, which could block.
func open(path string, owner Owner) (output, error) {
	switch {
	case isStderr(path):
		return standard(os.Stderr), nil
	case path == "/dev/stdout":
		return standard(os.Stdout), nil
	}
	dir, err := rootpath.Dir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	defer dir.Close()
	const flags = os.O_WRONLY | os.O_APPEND | unix.O_NOFOLLOW | unix.O_NONBLOCK
	f, err := openAt(dir, path, flags|os.O_CREATE|os.O_EXCL)
	if err == nil {
		err = f.Chmod(mode)
	} else if errors.Is(err, unix.EEXIST) {
		f, err = openAt(dir, path, flags)
	}
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("open log file %s: symbolic link, want the path of the file", path)
	} else if errors.Is(err, unix.ENXIO) {
		return nil, fmt.Errorf("open log file %s: %w", path, errNotRegular)
	} else if f == nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	if err == nil {
		err = adopt(f, owner)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open log file %s: %w", path, err)
	}
	return textOutput{f}, nil
}

var errNotRegular = errors.New("want a regular file")

// openAt opens a file in the directory dir.
func openAt(dir *os.File, path string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), filepath.Base(path), flags|unix.O_CLOEXEC, mode)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// adopt checks that an opened file can be the log, and sets its owner.
func adopt(f *os.File, owner Owner) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFCHR: // /dev/null
		return nil
	case kind != unix.S_IFREG:
		return errNotRegular
	case !owner.Change:
		return nil
	case st.Nlink > 1:
		return errors.New("file has several names (hard links), want one")
	}
	return f.Chown(owner.UID, owner.GID)
}

// standard returns the journal if stream is connected to it, else stream.
func standard(stream *os.File) output {
	if j := connectJournal(stream); j != nil {
		return j
	}
	return textOutput{keepOpen{stream}}
}

// keepOpen is a stream of the process, which must stay open.
type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }
