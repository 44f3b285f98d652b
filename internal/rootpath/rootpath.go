// Package rootpath opens directories for root. A user who may write to a
// directory of a path cannot lead root to another place by a symbolic link.
package rootpath

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links a path may have, as in Linux.
const maxLinks = 40

// Dir opens the directory at path, without the right to read it (O_PATH). Root
// follows the links of root, and a link of another user only if the directory
// belongs to that user. Other users follow every link.
func Dir(path string) (*os.File, error) {
	if os.Geteuid() != 0 {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	w := walk{fd: -1}
	defer func() { w.close() }()
	if err := w.to(strings.Split(abs, "/")); err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if err := w.check(); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	dir := os.NewFile(uintptr(w.fd), path)
	w.fd = -1
	return dir, nil
}

// A walk is on its way from / to a directory.
type walk struct {
	fd    int
	links []link // of other users
}

type link struct {
	name string
	uid  uint32
}

func (w *walk) close() {
	if w.fd >= 0 {
		unix.Close(w.fd)
	}
}

// to follows the names. Each step uses the descriptor of the directory before
// it, so a rename during the walk has no effect on the rule of Dir.
func (w *walk) to(names []string) error {
	if err := w.step(unix.AT_FDCWD, "/"); err != nil {
		return err
	}
	for followed := 0; len(names) > 0; {
		name := names[0]
		names = names[1:]
		if name == "" || name == "." {
			continue
		}
		target, isLink, err := w.enter(name)
		if err != nil {
			return err
		}
		if !isLink {
			continue
		}
		if followed++; followed > maxLinks {
			return unix.ELOOP
		}
		if filepath.IsAbs(target) {
			if err := w.step(unix.AT_FDCWD, "/"); err != nil {
				return err
			}
		}
		names = append(strings.Split(target, "/"), names...)
	}
	return nil
}

// step opens a name, which may be a link, in place of the directory.
func (w *walk) step(at int, name string) error {
	fd, err := unix.Openat(at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	w.close()
	w.fd = fd
	return nil
}

// enter goes to a directory, or returns where a link leads.
func (w *walk) enter(name string) (target string, isLink bool, err error) {
	fd, err := unix.Openat(w.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", false, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return "", false, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		w.close()
		w.fd = fd
		return "", false, nil
	case unix.S_IFLNK:
		defer unix.Close(fd)
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, "", buf) // of the link that was opened
		if err != nil {
			return "", false, err
		}
		if st.Uid != 0 {
			w.links = append(w.links, link{name, st.Uid})
		}
		return string(buf[:n]), true, nil
	}
	unix.Close(fd)
	return "", false, unix.ENOTDIR
}

// check returns an error for a link whose owner does not own the directory.
func (w *walk) check() error {
	var st unix.Stat_t
	if err := unix.Fstat(w.fd, &st); err != nil {
		return err
	}
	for _, l := range w.links {
		if l.uid != st.Uid {
			return fmt.Errorf("the symbolic link %s belongs to the user with id %d, who does not own the directory: name the directory itself", l.name, l.uid)
		}
	}
	return nil
}
