// Package rootpath resolves paths for root. A user who may write to a directory of
// a path cannot lead root to another place by a symbolic link: root follows the
// links of root, and a link of another user only to what belongs to that user.
package rootpath

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links a path may have, as in Linux.
const maxLinks = 40

// Path returns the absolute path of a file or directory without symbolic links. A
// user other than root follows every link.
func Path(path string) (string, error) {
	if os.Geteuid() != 0 {
		abs, err := filepath.Abs(path)
		if err != nil {
			return "", err
		}
		return filepath.EvalSymlinks(abs)
	}
	fd, err := resolve(path)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// Dir opens the directory at path, without the right to read it (O_PATH). A user
// other than root follows every link.
func Dir(path string) (*os.File, error) {
	open := resolve
	if os.Geteuid() != 0 {
		open = func(path string) (int, error) { return unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0) }
	}
	fd, err := open(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		unix.Close(fd)
		return nil, &os.PathError{Op: "open", Path: path, Err: cmp.Or(err, error(unix.ENOTDIR))}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// resolve opens what is at path, with O_PATH, by root's rule for links.
func resolve(path string) (fd int, err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return -1, err
	}
	top, err := openPath(unix.AT_FDCWD, "/")
	if err != nil {
		return -1, err
	}
	w := walk{fd: top}
	err = w.to(strings.Split(abs, "/"))
	if err == nil {
		err = w.check()
	}
	if err != nil {
		unix.Close(w.fd)
		return -1, err
	}
	return w.fd, nil
}

// openPath opens a name, which may be a link, in a directory.
func openPath(at int, name string) (int, error) {
	return unix.Openat(at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// A walk is on its way from / to a file or a directory.
type walk struct {
	fd    int
	links []link // of other users
}

type link struct {
	name string
	uid  uint32
}

// to follows the names. Each step uses the descriptor of the directory before
// it, so a rename during the walk has no effect on the rule.
func (w *walk) to(names []string) error {
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
			top, err := openPath(unix.AT_FDCWD, "/")
			if err != nil {
				return err
			}
			w.move(top)
		}
		names = append(strings.Split(target, "/"), names...)
	}
	return nil
}

// move replaces the directory.
func (w *walk) move(fd int) {
	unix.Close(w.fd)
	w.fd = fd
}

// enter goes to what has the name, or returns where a link leads.
func (w *walk) enter(name string) (target string, isLink bool, err error) {
	fd, err := openPath(w.fd, name)
	if err != nil {
		return "", false, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return "", false, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		w.move(fd)
		return "", false, nil
	}
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

// check returns an error for a link whose owner does not own what is at its end.
func (w *walk) check() error {
	var st unix.Stat_t
	if err := unix.Fstat(w.fd, &st); err != nil {
		return err
	}
	for _, l := range w.links {
		if l.uid != st.Uid {
			return fmt.Errorf("the symbolic link %s belongs to the user with id %d, who owns neither its target nor the machine: name the target itself", l.name, l.uid)
		}
	}
	return nil
}
