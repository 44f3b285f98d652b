// Package rootpath resolves paths for root so that another user, who may write to a
// directory of a path, cannot redirect root with a symbolic link. Root follows its
// own links, and a link of another user only if that user owns the target.
package rootpath

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is the maximum number of symbolic links in a path, as in Linux
// (path_resolution(7)).
const maxLinks = 40

// Path returns the absolute path of a file or directory without symbolic links. If
// the process is not root, it follows all links.
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

// Dir opens the directory at path with O_PATH (open(2)). If the process is not root,
// it follows all links.
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

// resolve opens path with O_PATH, and follows links by the rule for root.
func resolve(path string) (fd int, err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return -1, err
	}
	root, err := openPath(unix.AT_FDCWD, "/")
	if err != nil {
		return -1, err
	}
	w := walk{fd: root}
	err = w.follow(strings.Split(abs, "/"))
	if err == nil {
		err = w.checkLinks()
	}
	if err != nil {
		unix.Close(w.fd)
		return -1, err
	}
	return w.fd, nil
}

// openPath opens a name in a directory with O_PATH; of a link, the link itself.
func openPath(at int, name string) (int, error) {
	return unix.Openat(at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// A walk opens the components of a path, one after the other.
type walk struct {
	fd    int    // of the last component
	links []link // of users other than root
}

type link struct {
	name string
	uid  uint32 // of its owner
}

// follow opens the named components and the targets of links. Each step uses the
// descriptor of the directory before it, so a rename meanwhile cannot evade the rule.
func (w *walk) follow(names []string) error {
	for followed := 0; len(names) > 0; {
		name := names[0]
		names = names[1:]
		if name == "" || name == "." {
			continue
		}
		target, isLink, err := w.step(name)
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
			root, err := openPath(unix.AT_FDCWD, "/")
			if err != nil {
				return err
			}
			w.replace(root)
		}
		names = append(strings.Split(target, "/"), names...)
	}
	return nil
}

// replace replaces the descriptor, and closes the old one.
func (w *walk) replace(fd int) {
	unix.Close(w.fd)
	w.fd = fd
}

// step opens the component with this name, or returns the target of a link.
func (w *walk) step(name string) (target string, isLink bool, err error) {
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
		w.replace(fd)
		return "", false, nil
	}
	defer unix.Close(fd)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf) // "" = of the link fd itself
	if err != nil {
		return "", false, err
	}
	if st.Uid != 0 {
		w.links = append(w.links, link{name, st.Uid})
	}
	return string(buf[:n]), true, nil
}

// checkLinks returns an error if a link of another user is in the path and that user
// does not own the last component.
func (w *walk) checkLinks() error {
	var st unix.Stat_t
	if err := unix.Fstat(w.fd, &st); err != nil {
		return err
	}
	for _, l := range w.links {
		if l.uid != st.Uid {
			return fmt.Errorf("symbolic link %s has owner %d, its target owner %d: use the path of the target", l.name, l.uid, st.Uid)
		}
	}
	return nil
}
