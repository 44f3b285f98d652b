package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// realPath returns the absolute path without symbolic links, as SQLite uses it for
// the names of the WAL and the wal-index.
func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

// checkRegular returns an error if path is not a regular file. SQLite would block
// forever in the open of a FIFO.
func checkRegular(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("open: not a regular file")
	}
	return err
}

// checkAllRegular returns an error if the file at path, which has no symbolic
// links, or one of SQLite's other files of the database is not a regular file.
func checkAllRegular(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		info, err := os.Lstat(path + suffix)
		if suffix != "" && errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file", path+suffix)
		}
	}
	return nil
}
