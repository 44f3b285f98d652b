// Package logging is where the daemon's log goes: standard error, the journal
// behind it, or a file that is opened anew on request. Nobody who logs ever waits: lines go to a
// bounded buffer that one goroutine writes.
package logging

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/rootpath"
)

// A Log is a slog.Logger with an end of its own.
type Log struct {
	*slog.Logger
	level  slog.LevelVar
	stderr atomic.Bool // goes to standard error now
	out    *writer
}

// Open begins a log in the file at path, or on standard error when path is "".
// The file belongs to owner afterwards, so that it can be opened anew after
// root is given up.
func Open(path string, owner Owner) (*Log, error) {
	f, err := open(path, owner)
	if err != nil {
		return nil, err
	}
	l := &Log{out: newWriter(f)}
	l.stderr.Store(isStderr(path))
	options := &slog.HandlerOptions{Level: &l.level}
	if UnderJournal() {
		options.ReplaceAttr = l.withoutTime
	}
	l.Logger = slog.New(slog.NewTextHandler(l.out, options))
	return l, nil
}

// Owner is who a log file is to belong to.
type Owner struct {
	Change   bool // false leaves it to whoever runs the program
	UID, GID int
}

// SetVerbose includes debug lines, or leaves them out.
func (l *Log) SetVerbose(verbose bool) {
	l.level.Set(slog.LevelInfo)
	if verbose {
		l.level.Set(slog.LevelDebug)
	}
}

// Reopen goes on in the file at path, which may be the same name for a new
// file. When it fails the log goes on where it was.
func (l *Log) Reopen(path string) error {
	f, err := open(path, Owner{})
	if err != nil {
		return err
	}
	l.out.replace(f)
	l.stderr.Store(isStderr(path))
	return nil
}

// Check tells whether Reopen(path) would succeed, as far as that can be known.
func Check(path string) error {
	f, err := open(path, Owner{})
	if err != nil {
		return err
	}
	return f.Close()
}

// Close writes what is left and ends the log.
func (l *Log) Close() error { return l.out.close() }

// isStderr reports whether a path stands for standard error.
func isStderr(path string) bool { return path == "" || path == "/dev/stderr" }

// mode is a log file's, whatever the umask: a group may read it, all others
// must not learn who writes to whom.
const mode = 0o640

// open returns the file at path, ready to append to. A symbolic link is
// followed only to the program's own terminal or pipe (/dev/stdout and
// /dev/stderr, which files of 2012 name): elsewhere whoever made it could have
// root append to any file, as with a second name for it. rootpath.Dir has the
// rule for links to directories. A FIFO would block, and is refused as well.
func open(path string, owner Owner) (io.WriteCloser, error) {
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
		return nil, fmt.Errorf("open log file %s: it is a symbolic link: name the file itself", path)
	} else if errors.Is(err, unix.ENXIO) {
		return nil, fmt.Errorf("open log file %s: want a regular file", path)
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
	return f, nil
}

// openAt opens the file in its directory.
func openAt(dir *os.File, path string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), filepath.Base(path), flags|unix.O_CLOEXEC, mode)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// adopt checks what was opened and gives it to its owner.
func adopt(f *os.File, owner Owner) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFCHR: // /dev/null
		return nil
	case kind != unix.S_IFREG:
		return errors.New("want a regular file")
	case !owner.Change:
		return nil
	case st.Nlink > 1:
		return errors.New("it has a second name, a hard link: want a file of its own")
	}
	return f.Chown(owner.UID, owner.GID)
}

// standard is one of the process's own streams, or what is behind it.
func standard(stream *os.File) io.WriteCloser {
	if j := connectJournal(stream); j != nil {
		return j
	}
	return keep{stream}
}

// keep is a file that is not ours to close.
type keep struct{ io.Writer }

func (keep) Close() error { return nil }

// withoutTime leaves the time out of what goes to the journal, which has its
// own.
func (l *Log) withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey && l.stderr.Load() {
		return slog.Attr{}
	}
	return a
}
