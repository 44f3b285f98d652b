package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// realPath returns the absolute path without symbolic links.
func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

// maxLinks is how many symbolic links a path may have, as in Linux.
const maxLinks = 40

// trustedPath is realPath, but root follows only the links of root and of the
// owner of the file: with another link, a user who may write to a directory of
// the path could have root read any database.
func trustedPath(path string) (string, error) {
	if os.Geteuid() != 0 {
		return realPath(path)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, rest := "/", strings.Split(abs, "/")
	links := map[uint32]string{} // the last link of each owner but root
	for followed := 0; len(rest) > 0; {
		next := filepath.Join(real, rest[0]) // real has no links, so Join may take .. literally
		rest = rest[1:]
		info, err := os.Lstat(next)
		if err != nil {
			return "", err
		}
		if info.Mode().Type() != fs.ModeSymlink {
			real = next
			continue
		}
		if followed++; followed > maxLinks {
			return "", &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
		}
		if uid := owner(info); uid != 0 {
			links[uid] = next
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(target) {
			real = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	info, err := os.Lstat(real)
	if err != nil {
		return "", err
	}
	for uid, link := range links {
		if uid != owner(info) {
			return "", fmt.Errorf("the symbolic link %s belongs to the user with id %d, who owns neither the file nor the machine: name the file itself", link, uid)
		}
	}
	return real, nil
}

func owner(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }

// isFile returns an error for what cannot be a database: SQLite would wait for
// the other end of a FIFO without end.
func isFile(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("open: not a regular file")
	}
	return err
}

// regularParts returns an error if the file at path, which is real, or one of
// the files that SQLite keeps with it is not a regular file.
func regularParts(path string) error {
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
