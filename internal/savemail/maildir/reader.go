package maildir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/rootpath"
	"goguerrillad/internal/savemail"
)

// Reader reads the files that the store has made, in new and in cur. root reads
// what another user may have put there, so Reader follows no link within the
// Maildir, follows a link to it only by the rule of rootpath.Dir, and opens
// regular files only.
type Reader struct{ dirs []*os.File }

// An entry is a file in one of the directories.
type entry struct {
	dir  *os.File
	name string
}

// NewReader returns a reader of a Maildir that exists.
func NewReader(dir string) (*Reader, error) {
	top, err := rootpath.Dir(dir)
	if err != nil {
		return nil, fmt.Errorf("open the Maildir: %w", err)
	}
	defer top.Close()
	r := &Reader{}
	for _, name := range []string{"new", "cur"} {
		path := filepath.Join(dir, name)
		fd, err := unix.Openat(int(top.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if name == "cur" && errors.Is(err, fs.ErrNotExist) {
			break
		} else if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			err = fmt.Errorf("%s is not a directory", path)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the Maildir: %w", err), r.Close())
		}
		r.dirs = append(r.dirs, os.NewFile(uintptr(fd), path))
	}
	return r, nil
}

// find returns the files whose name has a part, newest first.
func (r *Reader) find(part string) ([]entry, error) {
	var found []entry
	for _, dir := range r.dirs {
		if _, err := dir.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("read the Maildir: %w", err)
		}
		files, err := dir.ReadDir(-1)
		if err != nil {
			return nil, fmt.Errorf("read the Maildir: %w", err)
		}
		for _, f := range files {
			if f.Type().IsRegular() && strings.Contains(f.Name(), part) && strings.Contains(f.Name(), ".goguerrilla,S=") {
				found = append(found, entry{dir, f.Name()})
			}
		}
	}
	slices.SortFunc(found, func(a, b entry) int { return strings.Compare(b.name, a.name) })
	return found, nil
}

// open opens a regular file. Anything else that took its place after find
// counts as deleted.
func (e entry) open() (*os.File, error) {
	fd, err := unix.Openat(int(e.dir.Fd()), e.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO):
		return nil, fs.ErrNotExist
	case err != nil:
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(e.dir.Name(), e.name), Err: err}
	}
	f := os.NewFile(uintptr(fd), e.name)
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// List returns the n newest mails, newest first.
func (r *Reader) List(ctx context.Context, n int) ([]savemail.Listed, error) {
	entries, err := r.find("")
	if err != nil {
		return nil, err
	}
	var list []savemail.Listed
	for _, e := range entries {
		if len(list) == n {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := listed(e)
		if errors.Is(err, fs.ErrNotExist) {
			continue // moved or deleted meanwhile
		} else if err != nil {
			return nil, fmt.Errorf("read the Maildir: %w", err)
		}
		list = append(list, m)
	}
	return list, nil
}

// headMost is how much of a file is read for List, in bytes.
const headMost = 64 << 10

// listed reads a file's name and the beginning of its text.
func listed(e entry) (m savemail.Listed, err error) {
	f, err := e.open()
	if err != nil {
		return m, err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, headMost))
	if err != nil {
		return m, err
	}
	_, rest, _ := strings.Cut(e.name, "_")
	m.Hash, rest, _ = strings.Cut(rest, ".")
	_, size, _ := strings.Cut(rest, ",S=")
	size, _, _ = strings.Cut(size, ":") // flags, in cur
	m.Size, _ = strconv.ParseInt(size, 10, 64)
	seconds, _, _ := strings.Cut(e.name, ".")
	when, _ := strconv.ParseInt(seconds, 10, 64)
	m.Date = time.Unix(when, 0).UTC()
	m.From, m.To = added(head, "Return-Path: <"), added(head, "Delivered-To: ")
	m.Subject = mailinfo.Parse(head).Subject
	return m, nil
}

// added is the value of one of the header lines that we have put in front.
func added(head []byte, name string) string {
	for line := range bytes.Lines(head[:min(len(head), 4096)]) {
		if value, ok := strings.CutPrefix(string(line), name); ok {
			return strings.TrimSuffix(strings.TrimRight(value, "\r\n"), ">")
		}
	}
	return ""
}

// Show returns the mail with this hash.
func (r *Reader) Show(_ context.Context, hash string) ([]byte, error) {
	entries, err := r.find("_" + hash + ".")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		f, err := e.open()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		mail, err := readMessage(f)
		return mail, errors.Join(err, f.Close())
	}
	return nil, savemail.ErrNotFound
}

// readMessage reads a file, unless another program has put one there that is too
// large to be a message.
func readMessage(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > savemail.MaxBlob {
		return nil, fmt.Errorf("read %s: %d bytes are too many for a message", info.Name(), info.Size())
	}
	return io.ReadAll(io.LimitReader(f, savemail.MaxBlob))
}

// Close closes the directories.
func (r *Reader) Close() error {
	var errs []error
	for _, dir := range r.dirs {
		errs = append(errs, dir.Close())
	}
	return errors.Join(errs...)
}
