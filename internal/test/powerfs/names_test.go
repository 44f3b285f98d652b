package powerfs_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"goguerrillad/internal/test/powerfs"
)

func TestStrictNames(t *testing.T) {
	fs := newFS(t, powerfs.Options{Names: powerfs.Strict})
	dir := fs.Dir + "/"
	must(t, os.Mkdir(dir+"tmp", 0o755))
	must(t, os.Mkdir(dir+"new", 0o755))
	must(t, syncDir(fs.Dir))

	f := open(t, dir+"tmp/a", os.O_CREATE|os.O_RDWR)
	writeAt(t, f, 0, "text")
	must(t, f.Sync())
	cut(t, fs, powerfs.Drop)
	wantNames(t, fs) // the sync of a file does not sync its name

	put(t, fs, "tmp/a", "text")
	must(t, os.Rename(dir+"tmp/a", dir+"new/a"))
	cut(t, fs, powerfs.Drop)
	wantNames(t, fs, "tmp/a")

	must(t, os.Rename(dir+"tmp/a", dir+"new/a"))
	must(t, syncDir(dir+"new"))
	cut(t, fs, powerfs.Drop)
	wantNames(t, fs, "new/a", "tmp/a") // the directory of the old name was not synced
	wantText(t, fs, "new/a", "text")

	must(t, os.Remove(dir+"new/a"))
	must(t, syncDir(dir+"new"))
	must(t, os.Rename(dir+"tmp/a", dir+"new/b"))
	must(t, syncDir(dir+"tmp"))
	cut(t, fs, powerfs.Drop)
	wantNames(t, fs, "new/b") // a rename loses no file

	must(t, os.Remove(dir+"new/b"))
	cut(t, fs, powerfs.Drop)
	wantNames(t, fs, "new/b")
	must(t, os.Link(dir+"new/b", dir+"new/c"))
	must(t, os.Remove(dir+"new/b"))
	must(t, syncDir(dir+"new"))
	cut(t, fs, powerfs.Drop)
	wantNames(t, fs, "new/c")
	wantText(t, fs, "new/c", "text")

	must(t, os.Mkdir(dir+"sub", 0o755))
	put(t, fs, "sub/d", "text")
	cut(t, fs, powerfs.Drop)
	wantNames(t, fs, "new/c") // the parent of sub was not synced
}

func TestJournaledNames(t *testing.T) {
	fs := newFS(t, powerfs.Options{Names: powerfs.Journaled})
	dir := fs.Dir + "/"
	open(t, dir+"a", os.O_CREATE|os.O_RDWR)
	must(t, os.Mkdir(dir+"sub", 0o755))
	open(t, dir+"sub/b", os.O_CREATE|os.O_RDWR)
	must(t, os.Rename(dir+"a", dir+"sub/a"))
	cut(t, fs, powerfs.Drop)
	wantNames(t, fs)

	f := open(t, dir+"a", os.O_CREATE|os.O_RDWR)
	must(t, os.Mkdir(dir+"sub", 0o755))
	open(t, dir+"sub/b", os.O_CREATE|os.O_RDWR)
	must(t, os.Rename(dir+"a", dir+"sub/a"))
	must(t, f.Sync())
	must(t, os.Remove(dir+"sub/b"))
	cut(t, fs, powerfs.Drop)
	wantNames(t, fs, "sub/a", "sub/b")

	// If some of the unsynced changes survive, they are the first ones.
	left := map[string]bool{}
	for range 40 {
		for _, name := range []string{"1", "2", "3"} {
			open(t, dir+name, os.O_CREATE|os.O_RDWR)
		}
		cut(t, fs, powerfs.Tear)
		left[names(t, fs)] = true
		for _, name := range []string{"1", "2", "3"} {
			os.Remove(dir + name)
		}
		must(t, syncDir(fs.Dir))
	}
	for _, want := range []string{"", "1 ", "1 2 ", "1 2 3 "} {
		if !left[want+"sub/a sub/b"] || len(left) != 4 {
			t.Errorf("names after the power losses: %v, want prefixes of 1 2 3", left)
		}
	}
}

// TestTearStrictNames checks that any of the unsynced changes may survive, and that no file
// is lost.
func TestTearStrictNames(t *testing.T) {
	fs := newFS(t, powerfs.Options{Names: powerfs.Strict})
	dir := fs.Dir + "/"
	missing := []string{"tmp/a tmp/b", "new/a new/b", "new/a tmp/a tmp/b", "new/b tmp/a tmp/b"}
	for range 1000 { // about 20 are enough
		must(t, os.RemoveAll(dir+"tmp"))
		must(t, os.RemoveAll(dir+"new"))
		must(t, os.Mkdir(dir+"tmp", 0o755))
		must(t, os.Mkdir(dir+"new", 0o755))
		must(t, syncDir(fs.Dir))
		put(t, fs, "tmp/a", "a")
		put(t, fs, "tmp/b", "b")
		must(t, os.Rename(dir+"tmp/a", dir+"new/a"))
		must(t, os.Rename(dir+"tmp/b", dir+"new/b"))
		cut(t, fs, powerfs.Tear)
		got := names(t, fs)
		if !strings.Contains(got, "/a") || !strings.Contains(got, "/b") {
			t.Fatalf("a file was lost; names: %s", got)
		}
		missing = slices.DeleteFunc(missing, func(want string) bool { return want == got })
		if len(missing) == 0 {
			return
		}
	}
	t.Errorf("no power loss left %q", missing)
}

// TestTearKeepsATree checks that a directory that was moved twice has one name after a
// power loss.
func TestTearKeepsATree(t *testing.T) {
	fs := newFS(t, powerfs.Options{Names: powerfs.Strict})
	dir := fs.Dir + "/"
	for range 40 {
		for _, name := range []string{"p", "q", "r"} {
			must(t, os.RemoveAll(dir+name))
			must(t, os.Mkdir(dir+name, 0o755))
		}
		must(t, syncDir(fs.Dir))
		must(t, os.Mkdir(dir+"p/d", 0o755))
		must(t, syncDir(dir+"p"))
		put(t, fs, "p/d/a", "a")
		must(t, os.Rename(dir+"p/d", dir+"q/d"))
		must(t, os.Rename(dir+"q/d", dir+"r/d"))
		cut(t, fs, powerfs.Tear)
		if got := names(t, fs); strings.Count(got, "a") != 1 {
			t.Fatalf("names after a power loss: %q, want one a", got)
		}
	}
}
