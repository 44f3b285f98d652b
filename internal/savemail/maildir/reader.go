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

	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/savemail"
)

// Reader looks at the files that the store has made, in new and in cur.
type Reader struct{ Dir string }

// NewReader returns a reader of a Maildir that is there.
func NewReader(dir string) (*Reader, error) {
	if _, err := os.Stat(filepath.Join(dir, "new")); err != nil {
		return nil, fmt.Errorf("open the Maildir: %w", err)
	}
	return &Reader{dir}, nil
}

// find returns the paths of files whose name has a part, newest first.
func (r *Reader) find(part string) ([]string, error) {
	var names []string
	for _, dir := range []string{"new", "cur"} {
		files, err := os.ReadDir(filepath.Join(r.Dir, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the Maildir: %w", err)
		}
		for _, f := range files {
			if strings.Contains(f.Name(), part) && strings.Contains(f.Name(), ".goguerrilla,S=") {
				names = append(names, filepath.Join(r.Dir, dir, f.Name()))
			}
		}
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(filepath.Base(b), filepath.Base(a)) })
	return names, nil
}

// List returns the n newest mails, newest first.
func (r *Reader) List(ctx context.Context, n int) ([]savemail.Listed, error) {
	paths, err := r.find("")
	if err != nil {
		return nil, err
	}
	var list []savemail.Listed
	for _, path := range paths {
		if len(list) == n {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := listed(path)
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
func listed(path string) (m savemail.Listed, err error) {
	f, err := os.Open(path)
	if err != nil {
		return m, err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, headMost))
	if err != nil {
		return m, err
	}
	base := filepath.Base(path)
	_, rest, _ := strings.Cut(base, "_")
	m.Hash, rest, _ = strings.Cut(rest, ".")
	_, size, _ := strings.Cut(rest, ",S=")
	size, _, _ = strings.Cut(size, ":") // flags, in cur
	m.Size, _ = strconv.ParseInt(size, 10, 64)
	seconds, _, _ := strings.Cut(base, ".")
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
	paths, err := r.find("_" + hash + ".")
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		mail, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return mail, err
	}
	return nil, savemail.ErrNotFound
}

// Close has nothing to close.
func (r *Reader) Close() error { return nil }
