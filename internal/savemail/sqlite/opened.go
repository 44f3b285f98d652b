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

// A verifier connects for root, and refuses a connection with other files than
// those that were checked. SQLite opens by name, so a user who may write to the
// directory can replace a file between the check and the open.
type verifier struct {
	driver.Connector
	file unix.Stat_t // what was checked
}

// verified returns the connector that root uses for the file at path, which is
// real.
func verified(path string, c driver.Connector) (driver.Connector, error) {
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

func (v verifier) Connect(ctx context.Context) (driver.Conn, error) {
	before, err := openFiles()
	if err != nil {
		return nil, err
	}
	conn, err := v.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	// The first read opens the -wal and the -shm.
	_, failed := conn.(driver.ExecerContext).ExecContext(ctx, "PRAGMA schema_version", nil)
	if err := v.check(before); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if failed != nil {
		return nil, errors.Join(failed, conn.Close())
	}
	return conn, nil
}

// check compares the files that are open now with those before.
func (v verifier) check(before map[int]unix.Stat_t) error {
	now, err := openFiles()
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
			return errors.New("another file was opened, of another user: the file was replaced meanwhile")
		}
	}
	if !found {
		return errors.New("another file was opened: the file was replaced meanwhile")
	}
	return nil
}

// openFiles returns the regular files of this process, by descriptor.
func openFiles() (map[int]unix.Stat_t, error) {
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
