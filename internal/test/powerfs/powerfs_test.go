package powerfs_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/powerfs"
)

// newFS mounts a file system and logs its seed.
func newFS(t *testing.T, o powerfs.Options) *powerfs.FS {
	t.Helper()
	o.Rand = rand.New(rand.NewPCG(test.Seed(t), 0))
	return powerfs.New(t, o)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cut cuts the power and mounts the file system again.
func cut(t *testing.T, fs *powerfs.FS, mode powerfs.Mode) {
	t.Helper()
	fs.Cut(mode)
	fs.Remount(t)
}

func open(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0o644)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// put writes a file, and makes its text and its name durable.
func put(t *testing.T, fs *powerfs.FS, name, text string) *os.File {
	t.Helper()
	f := open(t, filepath.Join(fs.Dir, name), os.O_RDWR|os.O_CREATE)
	writeAt(t, f, 0, text)
	must(t, f.Sync())
	must(t, syncDir(filepath.Dir(f.Name())))
	return f
}

func writeAt(t *testing.T, f *os.File, off int64, text string) {
	t.Helper()
	_, err := f.WriteAt([]byte(text), off)
	must(t, err)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// wantText compares the content of a file.
func wantText(t *testing.T, fs *powerfs.FS, name, want string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(fs.Dir, name))
	must(t, err)
	if string(got) != want {
		t.Errorf("%s contains %q, want %q", name, short(got), short([]byte(want)))
	}
}

func short(text []byte) string {
	if len(text) > 40 {
		return string(text[:40]) + "... of " + strconv.Itoa(len(text)) + " bytes"
	}
	return string(text)
}

// wantNames compares all paths below the root, except directories.
func wantNames(t *testing.T, fs *powerfs.FS, want ...string) {
	t.Helper()
	if got := names(t, fs); got != strings.Join(want, " ") {
		t.Errorf("names are %q, want %q", got, want)
	}
}

func names(t *testing.T, fs *powerfs.FS) string {
	t.Helper()
	var found []string
	must(t, filepath.WalkDir(fs.Dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, strings.TrimPrefix(path, fs.Dir+"/"))
		}
		return err
	}))
	return strings.Join(found, " ")
}

func TestFileOperations(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	f := put(t, fs, "a", "hello")
	must(t, os.Mkdir(filepath.Join(fs.Dir, "d"), 0o755))
	must(t, os.Link(f.Name(), filepath.Join(fs.Dir, "d/link")))
	must(t, os.Symlink("../a", filepath.Join(fs.Dir, "d/symlink")))
	must(t, os.Rename(f.Name(), filepath.Join(fs.Dir, "d/b")))
	wantNames(t, fs, "d/b", "d/link", "d/symlink")
	wantText(t, fs, "d/link", "hello")
	if target, err := os.Readlink(filepath.Join(fs.Dir, "d/symlink")); err != nil || target != "../a" {
		t.Errorf("readlink: %q, %v", target, err)
	}
	must(t, f.Truncate(2))
	writeAt(t, f, 4, "x")
	wantText(t, fs, "d/b", "he\x00\x00x")
	must(t, syscall.Fallocate(int(f.Fd()), 0, 4, 4))
	wantText(t, fs, "d/b", "he\x00\x00x\x00\x00\x00")
	big := strings.Repeat("0123456789", 100_000)
	put(t, fs, "big", big)
	wantText(t, fs, "big", big)
	must(t, os.Chmod(fs.Dir+"/d/b", 0o600))
	must(t, os.Chown(fs.Dir+"/d/b", test.Nobody, test.Nobody))
	info, err := os.Stat(fs.Dir + "/d/b")
	must(t, err)
	if st := info.Sys().(*syscall.Stat_t); info.Mode() != 0o600 || st.Uid != test.Nobody || st.Nlink != 2 {
		t.Errorf("mode %v, user %d, %d links, want -rw-------, nobody, 2", info.Mode(), st.Uid, st.Nlink)
	}
	if err := os.Remove(fs.Dir + "/d"); !errors.Is(err, syscall.ENOTEMPTY) {
		t.Errorf("rmdir of a full directory: error %v, want ENOTEMPTY", err)
	}
	must(t, os.RemoveAll(fs.Dir+"/d"))
	wantNames(t, fs, "big")
}

func TestSyncedSurvivesUnsyncedDoesNot(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	f := put(t, fs, "a", "first")
	writeAt(t, f, 0, "FIRST and more")
	must(t, f.Truncate(3))
	writeAt(t, f, 2000, "far")
	cut(t, fs, powerfs.Drop)
	wantText(t, fs, "a", "first")

	f = open(t, f.Name(), os.O_RDWR)
	writeAt(t, f, 3, "!")
	must(t, syscall.Fdatasync(int(f.Fd())))
	must(t, f.Truncate(4))
	cut(t, fs, powerfs.Drop)
	wantText(t, fs, "a", "fir!t")

	f = open(t, f.Name(), os.O_RDWR|syscall.O_DSYNC)
	writeAt(t, f, 5, " durable")
	cut(t, fs, powerfs.Drop)
	wantText(t, fs, "a", "fir!t durable")
}

// TestCutEndsTheMount checks that all operations fail after a power loss, including those
// on open files.
func TestCutEndsTheMount(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	f := put(t, fs, "a", "text")
	fs.Cut(powerfs.Drop)
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("write after the power loss: error %v, want EIO", err)
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("fsync after the power loss: error %v, want EIO", err)
	}
	if _, err := os.Create(fs.Dir + "/b"); !errors.Is(err, syscall.EIO) {
		t.Errorf("create after the power loss: error %v, want EIO", err)
	}
	fs.Remount(t)
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("write to a file of the earlier mount: no error")
	}
	wantText(t, fs, "a", "text")
}

// TestTear checks that each sector and the size may have any of their versions since the
// last sync.
func TestTear(t *testing.T) {
	const sectors = 64
	fs := newFS(t, powerfs.Options{})
	version := func(v string) string { return strings.Repeat(v, sectors*512) }
	losses, mixed, pages, sizes := 0, 0, 0, map[int64]bool{}
	complete := func() bool { return pages > 0 && mixed > pages && len(sizes) == 2 }
	for ; losses < 400 && !complete(); losses++ {
		f := put(t, fs, "a", version("a"))
		writeAt(t, f, 0, version("b"))
		writeAt(t, f, 0, version("c"))
		writeAt(t, f, sectors*512, "more")
		cut(t, fs, powerfs.Tear)
		text, err := os.ReadFile(f.Name())
		must(t, err)
		sizes[int64(len(text))] = true
		seen, whole := "", true
		for i := range sectors {
			sector := text[i*512 : (i+1)*512]
			if !strings.Contains("abc", string(sector[:1])) || !bytes.Equal(sector, bytes.Repeat(sector[:1], 512)) {
				t.Fatalf("sector %d is not one of its versions: %q", i, short(sector))
			}
			if !strings.Contains(seen, string(sector[:1])) {
				seen += string(sector[:1])
			}
			whole = whole && sector[0] == text[i/8*8*512]
		}
		if len(seen) == 3 {
			mixed++
			if whole {
				pages++
			}
		}
		must(t, os.Remove(f.Name()))
		must(t, syncDir(fs.Dir))
	}
	if !complete() {
		t.Errorf("%d of %d power losses mixed versions, %d of them by page; sizes %v; want some of each, and two sizes", mixed, losses, pages, sizes)
	}
}

// TestTearKeepsSynced checks that synced bytes survive, and that a truncation that does
// not survive removes no bytes.
func TestTearKeepsSynced(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	for range 40 {
		f := put(t, fs, "a", strings.Repeat("x", 5000))
		put(t, fs, "b", "not changed")
		must(t, f.Truncate(100))
		cut(t, fs, powerfs.Tear)
		text, err := os.ReadFile(f.Name())
		must(t, err)
		if n := len(text); n != 100 && n != 5000 || string(text) != strings.Repeat("x", n) {
			t.Fatalf("the file has %d bytes, want 100 or 5000 with the value x: %q", n, short(text))
		}
		wantText(t, fs, "b", "not changed")
	}
}
