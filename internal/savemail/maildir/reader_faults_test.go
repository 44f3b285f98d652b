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

// descriptors returns the paths of this process's open files in dir.
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

// fill creates a Maildir with one message in new and an older one in cur.
func fill(t *testing.T, dir string) (inNew, inCur *envelope.Envelope) {
	t.Helper()
	s := maildir.New(dir)
	defer s.Close()
	inCur = storetest.Envelope("Subject: cur\r\n\r\n", "a@example.com")
	if err := s.Save(t.Context(), []*envelope.Envelope{inCur})[0]; err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "new", "*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("new has the files %q, want one (error %v)", names, err)
	}
	if err := os.Rename(names[0], filepath.Join(dir, "cur", filepath.Base(names[0])+":2,S")); err != nil {
		t.Fatal(err)
	}
	inNew = storetest.Envelope("Subject: new\r\n\r\n", "b@example.com")
	if err := s.Save(t.Context(), []*envelope.Envelope{inNew})[0]; err != nil {
		t.Fatal(err)
	}
	return inNew, inCur
}

// TestReaderFails: if a system call fails, the Reader returns its error instead of an
// empty list or ErrNotFound. The Reader leaves no file open.
func TestReaderFails(t *testing.T) {
	disk := powerfs.New(t, powerfs.Options{Rand: rand.New(rand.NewPCG(1, 1))})
	dir := filepath.Join(disk.Dir, "Maildir")
	inNew, _ := fill(t, dir)
	if err := errors.Join(savemail.SyncDir(filepath.Join(dir, "cur")), savemail.SyncDir(filepath.Join(dir, "new"))); err != nil {
		t.Fatal(err)
	}
	disk.Cut(powerfs.Drop) // also empties the kernel's cache
	disk.Remount(t)
	for _, tt := range []struct {
		name  string
		fault powerfs.Fault
		opens bool  // NewReader returns no error
		want  error // of List and Show
	}{
		{"open of new", powerfs.Fault{Op: powerfs.Open, Match: "new"}, false, nil},
		{"open of cur", powerfs.Fault{Op: powerfs.Open, Match: "cur"}, false, nil},
		{"open of a file", powerfs.Fault{Op: powerfs.Open, Match: "*.goguerrilla,S=*"}, true, syscall.EIO},
		{"read of a file", powerfs.Fault{Op: powerfs.Read, Match: "*.goguerrilla,S=*"}, true, syscall.EIO},
		{"no fault", powerfs.Fault{Op: powerfs.Read, Match: "none"}, true, nil},
	} {
		tt.fault.Errno = syscall.EIO
		injected := disk.Inject(tt.fault)
		r, err := maildir.NewReader(dir)
		if !tt.opens {
			if !errors.Is(err, syscall.EIO) {
				t.Errorf("%s: NewReader returns %v, want EIO", tt.name, err)
			}
		} else if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		} else {
			if list, err := r.List(t.Context(), savemail.Filter{N: 10}); !errors.Is(err, tt.want) || (err == nil) != (len(list) == 2) {
				t.Errorf("%s: List returns %+v, %v, want both messages or the error %v", tt.name, list, err, tt.want)
			}
			if got, err := r.Show(t.Context(), inNew.To[0].Hash); !errors.Is(err, tt.want) || (err == nil) != (string(got) == string(inNew.Blob(0))) {
				t.Errorf("%s: Show returns %q, %v, want the message or the error %v", tt.name, got, err, tt.want)
			}
			if err := r.Close(); err != nil {
				t.Errorf("%s: Close returns %v", tt.name, err)
			}
		}
		injected.Clear()
		if open := descriptors(t, disk.Dir); len(open) > 0 {
			t.Errorf("%s: files are open: %q, want none", tt.name, open)
		}
	}
}

// TestReaderWithoutDirectory: a Reader returns an error if one of its
// directories was deleted, or after Close.
func TestReaderWithoutDirectory(t *testing.T) {
	for name, event := range map[string]func(dir string, r *maildir.Reader) error{
		"new is deleted": func(dir string, _ *maildir.Reader) error { return os.RemoveAll(filepath.Join(dir, "new")) },
		"cur is deleted": func(dir string, _ *maildir.Reader) error { return os.RemoveAll(filepath.Join(dir, "cur")) },
		"closed":         func(_ string, r *maildir.Reader) error { return r.Close() },
	} {
		dir := t.TempDir()
		inNew, _ := fill(t, dir)
		r, err := maildir.NewReader(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := event(dir, r); err != nil {
			t.Fatal(err)
		}
		if list, err := r.List(t.Context(), savemail.Filter{N: 10}); err == nil {
			t.Errorf("%s: List returns %+v, want an error", name, list)
		}
		if got, err := r.Show(t.Context(), inNew.To[0].Hash); err == nil || errors.Is(err, savemail.ErrNotFound) {
			t.Errorf("%s: Show returns %q, %v, want another error", name, got, err)
		}
	}
}

// TestFileReplacedDuringList: List skips a file that is deleted or replaced
// while it runs.
func TestFileReplacedDuringList(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"deleted":   func(string) error { return nil },
		"link":      func(path string) error { return os.Symlink("/dev/null", path) },
		"FIFO":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"socket": func(path string) error {
			// path is longer than a socket's address may be.
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
		inNew, inCur := fill(t, dir)
		r, err := maildir.NewReader(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		once := sync.OnceFunc(func() {
			names, err := filepath.Glob(filepath.Join(dir, "new", "*"))
			if err != nil || len(names) != 1 {
				t.Errorf("new has the files %q, want one (error %v)", names, err)
				return
			}
			if err := errors.Join(os.Remove(names[0]), replace(names[0])); err != nil {
				t.Error(err)
			}
		})
		list, err := r.List(hook{t.Context(), once}, savemail.Filter{N: 10})
		if err != nil || len(list) != 1 || list[0].Hash != inCur.To[0].Hash {
			t.Errorf("%s: List returns %+v, want only %s (error %v)", name, list, inCur.To[0].Hash, err)
		}
		if got, err := r.Show(t.Context(), inNew.To[0].Hash); !errors.Is(err, savemail.ErrNotFound) {
			t.Errorf("%s: Show returns %q, %v, want %v", name, got, err, savemail.ErrNotFound)
		}
		if open := descriptors(t, dir); len(open) != 2 {
			t.Errorf("%s: files are open: %q, want only new and cur", name, open)
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if list, err := r.List(canceled, savemail.Filter{N: 10}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: List with a canceled context returns %+v, %v, want %v", name, list, err, context.Canceled)
		}
	}
}
