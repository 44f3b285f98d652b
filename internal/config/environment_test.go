package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMemoryMax: the limit is the least memory.max of the cgroup and its parents.
func TestMemoryMax(t *testing.T) {
	root := t.TempDir()
	put := func(dir, text string) {
		dir = filepath.Join(root, dir)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "memory.max"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("a", "1000\n")
	put("a/b", "max\n")
	put("a/b/c", "2000\n")
	put("d", "max\n")
	put("e", "3000\n")
	put("e/f", "2000\n")
	put("e/f/g", "0\n") // ignored: no process could run with it
	for path, want := range map[string]int64{"/a/b/c": 1000, "/a/b": 1000, "/e": 3000, "/e/f": 2000, "/e/f/g": 2000, "/d": 0, "/": 0, "/none/x": 0, "/../..": 0} {
		got, ok := memoryMax(root, path)
		if got != want || ok != (want > 0) {
			t.Errorf("%s: got %d, limited %v, want %d, limited %v", path, got, ok, want, want > 0)
		}
	}
}

// TestNameInHosts: the first name with a dot in the line of the short name is the
// full name.
func TestNameInHosts(t *testing.T) {
	const hosts = "# machines\n127.0.0.1 localhost\n127.0.1.1\tbox.example.net box # box.example.org\n10.0.0.1 web www.example.com\n"
	for short, want := range map[string]string{"box": "box.example.net", "BOX": "box.example.net", "web": "www.example.com", "localhost": "", "none": "", "machines": ""} {
		if got := nameInHosts(hosts, short); got != want {
			t.Errorf("%s: got %q, want %q", short, got, want)
		}
	}
}

// TestMachine: Machine reports the memory, users and groups of this machine.
func TestMachine(t *testing.T) {
	env := Machine()
	if env.Memory() <= 0 {
		t.Errorf("Memory is %d, want more than 0", env.Memory())
	}
	for _, user := range []string{"root", "0"} {
		if uid, gid, err := env.User(user); err != nil || uid != 0 || gid != 0 {
			t.Errorf("user %s: got uid %d, gid %d, error %v, want 0, 0, nil", user, uid, gid, err)
		}
	}
	if gid, err := env.Group("root"); err != nil || gid != 0 {
		t.Errorf("group root: got %d, error %v, want 0, nil", gid, err)
	}
	for _, name := range []string{"no-such-name", "4294967290"} {
		if uid, _, err := env.User(name); err == nil {
			t.Errorf("user %s: got %d, want an error", name, uid)
		}
		if gid, err := env.Group(name); err == nil {
			t.Errorf("group %s: got %d, want an error", name, gid)
		}
	}
}

// TestReadFileNeverBlocks: ReadFile reads regular files, through links as well, and
// refuses a FIFO, a device and a directory without blocking.
func TestReadFileNeverBlocks(t *testing.T) {
	dir := t.TempDir()
	fifo, link, file := filepath.Join(dir, "fifo"), filepath.Join(dir, "link"), filepath.Join(dir, "file")
	if err := errors.Join(
		unix.Mkfifo(fifo, 0o600),
		os.WriteFile(file, []byte("text"), 0o600),
		os.Symlink(file, link),
	); err != nil {
		t.Fatal(err)
	}
	if text, _, err := readConfig(fifo); err == nil && len(text) > 0 {
		t.Errorf("readConfig returns %q of a FIFO", text)
	}
	read := Machine().ReadFile
	for _, path := range []string{fifo, "/dev/zero", dir} {
		if text, err := read(path); err == nil {
			t.Errorf("%s: read %d bytes, want an error", path, len(text))
		}
	}
	if text, err := read(link); err != nil || string(text) != "text" {
		t.Errorf("through a link: got %q, error %v, want \"text\"", text, err)
	}
	if err := os.Truncate(file, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := read(file); err == nil {
		t.Errorf("a file of %d bytes is read, want an error", maxFile+1)
	}
}
