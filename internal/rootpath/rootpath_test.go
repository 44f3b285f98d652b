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

const other = 65534

// A tree has links of root and of another user.
type tree struct{ top string }

func (tr tree) at(name string) string { return filepath.Join(tr.top, name) }

func newTree(t *testing.T) tree {
	t.Helper()
	tr := tree{t.TempDir()}
	if err := errors.Join(
		os.Chmod(filepath.Dir(tr.top), 0o755), // for the other user
		os.MkdirAll(tr.at("real/sub"), 0o755),
		os.Mkdir(tr.at("theirs"), 0o755),
		os.WriteFile(tr.at("file"), nil, 0o600),
		unix.Mkfifo(tr.at("fifo"), 0o600),
		os.Symlink(tr.at("real"), tr.at("absolute")),
		os.Symlink("real/../real/./sub/..", tr.at("relative")),
		os.Symlink("loop", tr.at("loop")),
		os.Symlink("real", tr.at("planted")),
		os.Symlink("planted", tr.at("indirect")),
		os.Symlink("theirs", tr.at("own")),
		os.Symlink("file", tr.at("to-file")),
		os.Symlink("theirs", tr.at("to-theirs")),
	); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		for _, name := range []string{"theirs", "planted", "own"} {
			if err := os.Lchown(tr.at(name), other, other); err != nil {
				t.Fatal(err)
			}
		}
	}
	return tr
}

// walks are paths and where they lead, as root: "" is an error.
var walks = []struct{ name, want string }{
	{"real", "real"}, {"real/sub", "real/sub"}, {"real/sub/..", "real"}, {"absolute/sub", "real/sub"},
	{"relative/sub", "real/sub"}, {"own", "theirs"}, {"to-theirs", "theirs"}, {"file", "file"}, {"to-file", "file"}, {"fifo", "fifo"},
	{"loop", ""}, {"none", ""}, {"file/sub", ""},
	{"planted", ""}, {"planted/sub", ""}, {"indirect", ""},
}

// beyondRoot are those that only root does not follow.
var beyondRoot = map[string]string{"planted": "real", "planted/sub": "real/sub", "indirect": "real"}

// TestDir: root follows no link of another user to a directory that this user does not
// own, and only directories are opened.
func TestDir(t *testing.T) {
	tr := newTree(t)
	asEach(t, func(t *testing.T, root bool) {
		for _, tt := range walks {
			want := tt.want
			if want == "" && !root {
				want = beyondRoot[tt.name]
			}
			if want == "file" || want == "fifo" {
				want = ""
			}
			dir, err := rootpath.Dir(tr.top + "/" + tt.name)
			if err != nil {
				var e *os.PathError
				if want != "" || !errors.As(err, &e) || e.Path != tr.top+"/"+tt.name {
					t.Errorf("%s: %v", tt.name, err)
				}
				continue
			}
			got, err := dir.Stat()
			if err := errors.Join(err, dir.Close()); err != nil {
				t.Fatal(err)
			}
			stat, err := os.Stat(tr.at(want))
			if want == "" || err != nil || !os.SameFile(got, stat) {
				t.Errorf("%s leads elsewhere than to %q (%v)", tt.name, want, err)
			}
		}
	})
}

// TestPath: the path of a file or a directory has no link, by the same rule.
func TestPath(t *testing.T) {
	tr := newTree(t)
	t.Chdir(tr.top)
	asEach(t, func(t *testing.T, root bool) {
		for _, tt := range walks {
			want := tt.want
			if want == "" && !root {
				want = beyondRoot[tt.name]
			}
			for _, path := range []string{tt.name, tr.top + "/" + tt.name} {
				got, err := rootpath.Path(path)
				if (err == nil) != (want != "") || err == nil && got != tr.at(want) {
					t.Errorf("%s: %q, %v, want %q", path, got, err, want)
				}
			}
		}
	})
}

// asEach runs a test as the user of the process, and if that is root as another user.
func asEach(t *testing.T, test func(t *testing.T, root bool)) {
	root := os.Geteuid() == 0
	t.Run("own", func(t *testing.T) { test(t, root) })
	if !root {
		return
	}
	t.Run("other", func(t *testing.T) {
		if err := syscall.Setresuid(-1, other, -1); err != nil {
			t.Fatal(err)
		}
		defer syscall.Setresuid(-1, 0, -1)
		test(t, false)
	})
}

// TestManyLinks: a path may have as many links as Linux follows.
func TestManyLinks(t *testing.T) {
	top := t.TempDir()
	next := top
	for n := 1; n <= 42; n++ {
		link := filepath.Join(top, fmt.Sprint("link", n))
		if err := os.Symlink(next, link); err != nil {
			t.Fatal(err)
		}
		next = link
		_, err := os.Stat(link)
		dir, got := rootpath.Dir(link)
		if got == nil {
			dir.Close()
		}
		if (got == nil) != (err == nil) || got != nil && !errors.Is(got, unix.ELOOP) {
			t.Errorf("%d links: %v, Linux %v", n, got, err)
		}
	}
}

// TestDescriptors: no path leaves a descriptor open.
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
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which closes what nothing refers to
	before := count()
	for _, tt := range walks {
		if dir, err := rootpath.Dir(tr.at(tt.name)); err == nil {
			dir.Close()
		}
		_, _ = rootpath.Path(tr.at(tt.name))
		if after := count(); after != before {
			t.Fatalf("%s: %d descriptors, before %d", tt.name, after, before)
		}
	}
}

// TestNoWorkingDirectory: a relative path leads nowhere when the working directory
// is removed.
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
			t.Errorf("the path is %q, %v", path, err)
		}
		dir, err := rootpath.Dir(".")
		if err == nil {
			dir.Close()
		}
		if !errors.Is(err, unix.ENOENT) && (root || err != nil) { // Linux opens it
			t.Errorf("the directory is %v, %v", dir, err)
		}
	})
}
