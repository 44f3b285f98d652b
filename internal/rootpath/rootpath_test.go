package rootpath_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/rootpath"
)

const other = 65534

// TestDir: root follows no link of another user to a directory that this user
// does not own.
func TestDir(t *testing.T) {
	top := t.TempDir()
	at := func(name string) string { return filepath.Join(top, name) }
	if err := errors.Join(
		os.MkdirAll(at("real/sub"), 0o755),
		os.Mkdir(at("theirs"), 0o755),
		os.WriteFile(at("file"), nil, 0o600),
		unix.Mkfifo(at("fifo"), 0o600),
		os.Symlink(at("real"), at("absolute")),
		os.Symlink("real/../real/./sub/..", at("relative")),
		os.Symlink("loop", at("loop")),
		os.Symlink("real", at("planted")),
		os.Symlink("planted", at("indirect")),
		os.Symlink("theirs", at("own")),
	); err != nil {
		t.Fatal(err)
	}
	root := os.Geteuid() == 0
	if root {
		for _, name := range []string{"theirs", "planted", "own"} {
			if err := os.Lchown(at(name), other, other); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct{ name, want string }{
		{"real", "real"}, {"real/sub", "real/sub"}, {"real/sub/..", "real"}, {"absolute/sub", "real/sub"},
		{"relative/sub", "real/sub"}, {"own", "theirs"},
		{"loop", ""}, {"file", ""}, {"fifo", ""}, {"none", ""}, {"file/sub", ""},
		{"planted", map[bool]string{false: "real"}[root]},
		{"planted/sub", map[bool]string{false: "real/sub"}[root]},
		{"indirect", map[bool]string{false: "real"}[root]},
	} {
		dir, err := rootpath.Dir(top + "/" + tt.name)
		if err != nil {
			if tt.want != "" {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		got, err := dir.Stat()
		if err := errors.Join(err, dir.Close()); err != nil {
			t.Fatal(err)
		}
		want, err := os.Stat(at(tt.want))
		if tt.want == "" || err != nil || !os.SameFile(got, want) {
			t.Errorf("%s leads elsewhere than to %q (%v)", tt.name, tt.want, err)
		}
	}
}
