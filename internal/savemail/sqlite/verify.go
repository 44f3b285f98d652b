package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/rootpath"
)

// A verifier is the connector of root. It refuses a connection that has opened other
// files than the checked file. SQLite opens files by name, so a user who may write to
// the directory can replace a file between the check and the open.
type verifier struct {
	driver.Connector
	file unix.Stat_t // of the checked file
}

// verify returns c, or for root a verifier with the file at path as the checked file.
// path has no symbolic links.
func verify(path string, c driver.Connector) (driver.Connector, error) {
	if os.Geteuid() != 0 {
		return c, nil
	}
	dir, err := rootpath.Dir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	v := verifier{Connector: c}
	if err := unix.Fstatat(int(dir.Fd()), filepath.Base(path), &v.file, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if v.file.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return v, nil
}

// Connect opens a connection and checks the files that the connection has opened.
func (v verifier) Connect(ctx context.Context) (driver.Conn, error) {
	before, err := regularDescriptors()
	if err != nil {
		return nil, err
	}
	conn, err := v.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	// The first read makes SQLite open the -wal and the -shm.
	_, readErr := conn.(driver.ExecerContext).ExecContext(ctx, "PRAGMA schema_version", nil)
	if err := v.check(before); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if readErr != nil {
		return nil, errors.Join(readErr, conn.Close())
	}
	return conn, nil
}

// check compares the open files of the process with the open files before the
// connection. The checked file must be open, and its owner must own each new file.
func (v verifier) check(before map[int]unix.Stat_t) error {
	now, err := regularDescriptors()
	if err != nil {
		return err
	}
	found := false
	for fd, f := range now {
		same := f.Dev == v.file.Dev && f.Ino == v.file.Ino
		found = found || same
		if old, known := before[fd]; known && old.Dev == f.Dev && old.Ino == f.Ino {
			continue
		}
		if !same && f.Uid != v.file.Uid {
			return errors.New("verify the open files: a file was replaced by a file of another user")
		}
	}
	if !found {
		return errors.New("verify the open files: the file was replaced")
	}
	return nil
}

// regularDescriptors returns the open regular files of this process. The keys are
// their descriptors.
func regularDescriptors() (map[int]unix.Stat_t, error) {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	files := map[int]unix.Stat_t{}
	for _, n := range names {
		fd, err := strconv.Atoi(n.Name())
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
			files[fd] = st
		}
	}
	return files, nil
}
