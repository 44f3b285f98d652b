package maildir_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/maildir"
	"goguerrillad/internal/test/powerfs"
	"goguerrillad/internal/test/storetest"
)

// descriptors returns the files below a directory that this process has open.
func descriptors(t *testing.T, dir string) (open []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if path, err := os.Readlink(link); err == nil && strings.HasPrefix(path, dir+"/") {
			open = append(open, path)
		}
	}
	return open
}

// filled returns a Maildir with one message in new and an older one in cur.
func filled(t *testing.T, dir string) (new, cur *envelope.Envelope) {
	t.Helper()
	s := maildir.New(dir)
	defer s.Close()
	cur = storetest.Envelope("Subject: cur\r\n\r\n", "a@example.com")
	if err := s.Save(t.Context(), []*envelope.Envelope{cur})[0]; err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "new", "*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("files %q, %v", names, err)
	}
	if err := os.Rename(names[0], filepath.Join(dir, "cur", filepath.Base(names[0])+":2,S")); err != nil {
		t.Fatal(err)
	}
	new = storetest.Envelope("Subject: new\r\n\r\n", "b@example.com")
	if err := s.Save(t.Context(), []*envelope.Envelope{new})[0]; err != nil {
		t.Fatal(err)
	}
	return new, cur
}

// TestReaderFails: if a read fails, the reader returns the error, neither an empty
// list nor ErrNotFound. It leaves no file open.
func TestReaderFails(t *testing.T) {
	disk := powerfs.New(t, powerfs.Options{Rand: rand.New(rand.NewPCG(1, 1))})
	dir := filepath.Join(disk.Dir, "Maildir")
	inNew, _ := filled(t, dir)
	if err := errors.Join(savemail.SyncDir(filepath.Join(dir, "cur")), savemail.SyncDir(filepath.Join(dir, "new"))); err != nil {
		t.Fatal(err)
	}
	disk.Cut(powerfs.Drop) // empties the kernel's cache, too
	disk.Remount(t)
	for _, tt := range []struct {
		name  string
		fault powerfs.Fault
		opens bool  // the reader
		want  error // of List and Show
	}{
		{"open of new", powerfs.Fault{Op: powerfs.Open, Match: "new"}, false, nil},
		{"open of cur", powerfs.Fault{Op: powerfs.Open, Match: "cur"}, false, nil},
		{"open of a file", powerfs.Fault{Op: powerfs.Open, Match: "*.goguerrilla,S=*"}, true, syscall.EIO},
		{"read of a file", powerfs.Fault{Op: powerfs.Read, Match: "*.goguerrilla,S=*"}, true, syscall.EIO},
		{"nothing", powerfs.Fault{Op: powerfs.Read, Match: "none"}, true, nil},
	} {
		tt.fault.Errno = syscall.EIO
		injected := disk.Inject(tt.fault)
		r, err := maildir.NewReader(dir)
		if !tt.opens {
			if !errors.Is(err, syscall.EIO) {
				t.Errorf("%s: NewReader returns %v", tt.name, err)
			}
		} else if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		} else {
			if list, err := r.List(t.Context(), 10); !errors.Is(err, tt.want) || (err == nil) != (len(list) == 2) {
				t.Errorf("%s: List returns %+v, %v", tt.name, list, err)
			}
			if mail, err := r.Show(t.Context(), inNew.To[0].Hash); !errors.Is(err, tt.want) || (err == nil) != (string(mail) == string(inNew.Blob(0))) {
				t.Errorf("%s: Show returns %q, %v", tt.name, mail, err)
			}
			if err := r.Close(); err != nil {
				t.Errorf("%s: Close returns %v", tt.name, err)
			}
		}
		injected.Clear()
		if open := descriptors(t, disk.Dir); len(open) > 0 {
			t.Errorf("%s: these files stay open: %q", tt.name, open)
		}
	}
}

// TestReaderOfNothing: a reader returns an error if one of its directories was
// deleted, or if it is closed.
func TestReaderOfNothing(t *testing.T) {
	for name, end := range map[string]func(dir string, r *maildir.Reader) error{
		"new is deleted": func(dir string, _ *maildir.Reader) error { return os.RemoveAll(filepath.Join(dir, "new")) },
		"cur is deleted": func(dir string, _ *maildir.Reader) error { return os.RemoveAll(filepath.Join(dir, "cur")) },
		"closed":         func(_ string, r *maildir.Reader) error { return r.Close() },
	} {
		dir := t.TempDir()
		inNew, _ := filled(t, dir)
		r, err := maildir.NewReader(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := end(dir, r); err != nil {
			t.Fatal(err)
		}
		if list, err := r.List(t.Context(), 10); err == nil {
			t.Errorf("%s: List returns %+v", name, list)
		}
		if mail, err := r.Show(t.Context(), inNew.To[0].Hash); err == nil || errors.Is(err, savemail.ErrNotFound) {
			t.Errorf("%s: Show returns %q, %v", name, mail, err)
		}
	}
}

// TestReaderRaces: List skips a file that is deleted or replaced while it runs.
func TestReaderRaces(t *testing.T) {
	for name, place := range map[string]func(path string) error{
		"deleted":   func(string) error { return nil },
		"link":      func(path string) error { return os.Symlink("/dev/null", path) },
		"FIFO":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"socket": func(path string) error {
			// The path is longer than the address of a socket may be.
			short := filepath.Join(filepath.Dir(path), "s")
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
			if err != nil {
				return err
			}
			l.SetUnlinkOnClose(false)
			return errors.Join(l.Close(), os.Rename(short, path))
		},
	} {
		dir := t.TempDir()
		inNew, inCur := filled(t, dir)
		r, err := maildir.NewReader(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		replace := sync.OnceFunc(func() {
			names, err := filepath.Glob(filepath.Join(dir, "new", "*"))
			if err != nil || len(names) != 1 {
				t.Errorf("files %q, %v", names, err)
				return
			}
			if err := errors.Join(os.Remove(names[0]), place(names[0])); err != nil {
				t.Error(err)
			}
		})
		list, err := r.List(hook{t.Context(), replace}, 10)
		if err != nil || len(list) != 1 || list[0].Hash != inCur.To[0].Hash {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
		if mail, err := r.Show(t.Context(), inNew.To[0].Hash); !errors.Is(err, savemail.ErrNotFound) {
			t.Errorf("%s: Show returns %q, %v", name, mail, err)
		}
		if open := descriptors(t, dir); len(open) != 2 {
			t.Errorf("%s: these files are open, not new and cur alone: %q", name, open)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if list, err := r.List(ended, 10); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: List returns %+v, %v after its time", name, list, err)
		}
	}
}
