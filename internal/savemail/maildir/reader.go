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

// A Reader reads the files of a Store in new and in cur. It may run as root in a
// directory where another user may create files and links. It therefore opens only
// regular files, follows no link in the Maildir, and follows a link to the Maildir
// only by the rule of rootpath.Dir.
type Reader struct{ dirs []*os.File }

// An entry is a file in new or cur.
type entry struct {
	dir  *os.File
	name string
}

// NewReader opens an existing Maildir. cur may be missing.
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

// find returns the store's files whose names contain s, newest first.
func (r *Reader) find(s string) ([]entry, error) {
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
			if f.Type().IsRegular() && strings.Contains(f.Name(), s) && strings.Contains(f.Name(), ".goguerrilla,S=") {
				found = append(found, entry{dir, f.Name()})
			}
		}
	}
	slices.SortFunc(found, func(a, b entry) int { return strings.Compare(b.name, a.name) })
	return found, nil
}

// open opens a regular file. If another kind of file has replaced it since
// find, open returns fs.ErrNotExist.
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

// List returns the newest messages that pass the filter, newest first.
func (r *Reader) List(ctx context.Context, f savemail.Filter) ([]savemail.Listed, error) {
	entries, err := r.find("")
	if err != nil {
		return nil, err
	}
	var list []savemail.Listed
	for _, e := range entries {
		if len(list) == f.N {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := readListed(e)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another program has moved or deleted the file since find
		} else if err != nil {
			return nil, fmt.Errorf("read the Maildir: %w", err)
		}
		if m.Date.Before(f.Since) {
			break // the entries are in the order of their dates
		}
		if (f.To == "" || m.To == f.To) && (f.From == "" || m.From == f.From) {
			list = append(list, m)
		}
	}
	return list, nil
}

// Hashes returns up to n different hashes that begin with the prefix.
func (r *Reader) Hashes(_ context.Context, prefix string, n int) ([]string, error) {
	entries, err := r.find("_" + prefix)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, e := range entries {
		if hash := e.hash(); strings.HasPrefix(hash, prefix) && !slices.Contains(list, hash) && len(list) < n {
			list = append(list, hash)
		}
	}
	return list, nil
}

// hash returns the hash in the name of the file.
func (e entry) hash() string {
	_, rest, _ := strings.Cut(e.name, "_")
	hash, _, _ := strings.Cut(rest, ".")
	return hash
}

// maxHead is the number of bytes that List reads of each file.
const maxHead = 64 << 10

// readListed returns the message of a file for List. It reads only the file's name
// and its first maxHead bytes.
func readListed(e entry) (m savemail.Listed, err error) {
	f, err := e.open()
	if err != nil {
		return m, err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, maxHead))
	if err != nil {
		return m, err
	}
	m.Hash = e.hash()
	_, size, _ := strings.Cut(e.name, ",S=")
	size, _, _ = strings.Cut(size, ":") // in cur, flags follow
	m.Size, _ = strconv.ParseInt(size, 10, 64)
	seconds, _, _ := strings.Cut(e.name, ".")
	when, _ := strconv.ParseInt(seconds, 10, 64)
	m.Date = time.Unix(when, 0).UTC()
	m.From, m.To = addedField(head, "Return-Path: <"), addedField(head, "Delivered-To: ")
	m.Subject = mailinfo.Parse(head).Subject
	return m, nil
}

// addedField returns the value of a header field that the daemon has added, or
// "". The line of the field starts with prefix, and the value follows it.
func addedField(head []byte, prefix string) string {
	for line := range bytes.Lines(head[:min(len(head), 4096)]) {
		if value, ok := strings.CutPrefix(string(line), prefix); ok {
			return strings.TrimSuffix(strings.TrimRight(value, "\r\n"), ">")
		}
	}
	return ""
}

// Show returns the message with this hash, or savemail.ErrNotFound.
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
		message, err := readMessage(f)
		return message, errors.Join(err, f.Close())
	}
	return nil, savemail.ErrNotFound
}

// readMessage reads a file. It returns an error if the file is too large to be
// a message of the store.
func readMessage(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() >= savemail.MaxBlob {
		return nil, fmt.Errorf("read %s: the file has %d bytes, more than a message can have", info.Name(), info.Size())
	}
	return io.ReadAll(io.LimitReader(f, savemail.MaxBlob))
}

// Close closes new and cur.
func (r *Reader) Close() error {
	var errs []error
	for _, dir := range r.dirs {
		errs = append(errs, dir.Close())
	}
	return errors.Join(errs...)
}
