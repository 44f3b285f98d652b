package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// unreadable returns why a file cannot be read, and what would be right. If a right is
// missing, it names the user and the first directory or file on the path that refuses.
func unreadable(path string, err error, want string) (problem, right string) {
	if !errors.Is(err, fs.ErrPermission) {
		return "cannot be read: " + bare(err), want
	}
	name := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	problem = "cannot be read by the user " + name + ": permission denied"
	if at := refusing(path); at != "" {
		problem += " at " + at
	}
	return problem, "want a file that this user can read, such as a copy for its group"
}

// refusing returns the first directory on a path that this process may not search, or the
// file that it may not read, with mode and owner; "" if it finds none.
func refusing(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	dir := "/"
	for _, name := range append([]string{""}, strings.Split(filepath.Dir(abs)[1:], "/")...) {
		dir = filepath.Join(dir, name)
		if unix.Faccessat(unix.AT_FDCWD, dir, unix.X_OK, unix.AT_EACCESS) != nil {
			return describe(dir)
		}
	}
	real, err := filepath.EvalSymlinks(abs)
	switch {
	case err == nil && real != abs:
		return refusing(real)
	case err != nil:
		// A link whose target is in a directory that refuses.
		if target, err := os.Readlink(abs); err == nil {
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(abs), target)
			}
			return refusing(target)
		}
	}
	return describe(abs)
}

// describe returns a path with its mode and its owner.
func describe(path string) string {
	var st unix.Stat_t
	info, err := os.Stat(path)
	if err != nil || unix.Stat(path, &st) != nil {
		return path
	}
	owner := strconv.FormatUint(uint64(st.Uid), 10)
	if u, err := user.LookupId(owner); err == nil {
		owner = u.Username
	}
	return fmt.Sprintf("%s (%v, owner %s)", path, info.Mode(), owner)
}
