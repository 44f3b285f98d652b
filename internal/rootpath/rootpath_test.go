package rootpath_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/rootpath"
)

const otherUID = 65534

// A tree is a directory with links of root and of another user.
type tree struct{ top string }

func (tr tree) at(name string) string { return filepath.Join(tr.top, name) }

func newTree(t *testing.T) tree {
	t.Helper()
	tr := tree{t.TempDir()}
	if err := errors.Join(
		os.Chmod(filepath.Dir(tr.top), 0o755), // so that the other user can read it
		os.MkdirAll(tr.at("real/sub"), 0o755),
		os.Mkdir(tr.at("others"), 0o755),
		os.WriteFile(tr.at("file"), nil, 0o600),
		unix.Mkfifo(tr.at("fifo"), 0o600),
		os.Symlink(tr.at("real"), tr.at("absolute")),
		os.Symlink("real/../real/./sub/..", tr.at("relative")),
		os.Symlink("loop", tr.at("loop")),
		os.Symlink("real", tr.at("planted")),
		os.Symlink("planted", tr.at("indirect")),
		os.Symlink("others", tr.at("own")),
		os.Symlink("file", tr.at("to-file")),
		os.Symlink("others", tr.at("to-others")),
	); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		for _, name := range []string{"others", "planted", "own"} {
			if err := os.Lchown(tr.at(name), otherUID, otherUID); err != nil {
				t.Fatal(err)
			}
		}
	}
	return tr
}

// walks are paths and what root finds there; "" is an error.
var walks = []struct{ name, want string }{
	{"real", "real"}, {"real/sub", "real/sub"}, {"real/sub/..", "real"}, {"absolute/sub", "real/sub"},
	{"relative/sub", "real/sub"}, {"own", "others"}, {"to-others", "others"}, {"file", "file"}, {"to-file", "file"}, {"fifo", "fifo"},
	{"loop", ""}, {"none", ""}, {"file/sub", ""},
	{"planted", ""}, {"planted/sub", ""}, {"indirect", ""},
}

// refusedToRoot are paths that only root does not follow, and what is there.
var refusedToRoot = map[string]string{"planted": "real", "planted/sub": "real/sub", "indirect": "real"}

// TestDir: Dir opens only directories. As root it follows a link of another user only
// to a directory that this user owns.
func TestDir(t *testing.T) {
	tr := newTree(t)
	asEach(t, func(t *testing.T, root bool) {
		for _, tt := range walks {
			want := tt.want
			if want == "" && !root {
				want = refusedToRoot[tt.name]
			}
			if want == "file" || want == "fifo" {
				want = ""
			}
			path := tr.top + "/" + tt.name
			dir, err := rootpath.Dir(path)
			if err != nil {
				var e *os.PathError
				if want != "" {
					t.Errorf("%s: error %v, want the directory %s", tt.name, err, want)
				} else if !errors.As(err, &e) || e.Path != path {
					t.Errorf("%s: error %v, want a PathError of %s", tt.name, err, path)
				}
				continue
			}
			got, err := dir.Stat()
			if err := errors.Join(err, dir.Close()); err != nil {
				t.Fatal(err)
			}
			if want == "" {
				t.Errorf("%s: opened, want an error", tt.name)
				continue
			}
			stat, err := os.Stat(tr.at(want))
			if err != nil || !os.SameFile(got, stat) {
				t.Errorf("%s: opened another directory than %s (%v)", tt.name, want, err)
			}
		}
	})
}

// TestPath: Path returns a path without links, by the rule of TestDir, and of files
// too.
func TestPath(t *testing.T) {
	tr := newTree(t)
	t.Chdir(tr.top)
	asEach(t, func(t *testing.T, root bool) {
		for _, tt := range walks {
			want := tt.want
			if want == "" && !root {
				want = refusedToRoot[tt.name]
			}
			for _, path := range []string{tt.name, tr.top + "/" + tt.name} {
				got, err := rootpath.Path(path)
				switch {
				case want == "" && err == nil:
					t.Errorf("%s: path %s, want an error", path, got)
				case want != "" && err != nil:
					t.Errorf("%s: error %v, want the path %s", path, err, tr.at(want))
				case want != "" && got != tr.at(want):
					t.Errorf("%s: path %s, want %s", path, got, tr.at(want))
				}
			}
		}
	})
}

// asEach runs a test as the user of the process, and if that is root also as another
// user.
func asEach(t *testing.T, test func(t *testing.T, root bool)) {
	t.Helper()
	root := os.Geteuid() == 0
	t.Run("same user", func(t *testing.T) { test(t, root) })
	if !root {
		return
	}
	t.Run("another user", func(t *testing.T) {
		if err := syscall.Setresuid(-1, otherUID, -1); err != nil {
			t.Fatal(err)
		}
		defer syscall.Setresuid(-1, 0, -1)
		test(t, false)
	})
}

// TestManyLinks: Dir follows as many links as Linux.
func TestManyLinks(t *testing.T) {
	top := t.TempDir()
	next := top
	for n := 1; n <= 42; n++ {
		link := filepath.Join(top, fmt.Sprint("link", n))
		if err := os.Symlink(next, link); err != nil {
			t.Fatal(err)
		}
		next = link
		_, want := os.Stat(link)
		dir, err := rootpath.Dir(link)
		if err == nil {
			dir.Close()
		}
		if (err == nil) != (want == nil) || err != nil && !errors.Is(err, unix.ELOOP) {
			t.Errorf("%d links: error %v, Linux returns %v", n, err, want)
		}
	}
}

// TestDescriptors: Dir and Path leave no descriptor open, also after an error.
func TestDescriptors(t *testing.T) {
	tr := newTree(t)
	count := func() int {
		t.Helper()
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the collector would close unreachable files
	before := count()
	for _, tt := range walks {
		if dir, err := rootpath.Dir(tr.at(tt.name)); err == nil {
			dir.Close()
		}
		_, _ = rootpath.Path(tr.at(tt.name))
		if after := count(); after != before {
			t.Fatalf("%s: %d descriptors, want %d as before", tt.name, after, before)
		}
	}
}

// TestNoWorkingDirectory: a relative path is an error after the working directory has
// been removed.
func TestNoWorkingDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	asEach(t, func(t *testing.T, root bool) {
		if path, err := rootpath.Path("file"); !errors.Is(err, unix.ENOENT) {
			t.Errorf("path %q, error %v, want ENOENT", path, err)
		}
		dir, err := rootpath.Dir(".")
		if err == nil {
			dir.Close()
		}
		if !errors.Is(err, unix.ENOENT) && (root || err != nil) { // Linux opens the removed directory
			t.Errorf("directory: error %v, want ENOENT", err)
		}
	})
}
