package powerfs_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/powerfs"
)

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("error %v, want %v", got, want)
	}
}

// TestFailedSyncIsNeverDurable checks that a failed sync is reported once, and that a
// later sync does not write the lost sectors.
func TestFailedSyncIsNeverDurable(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	f := put(t, fs, "a", strings.Repeat("a", 2048))
	writeAt(t, f, 0, strings.Repeat("b", 1024))
	fault := fs.Inject(powerfs.Fault{Op: powerfs.Sync, Count: 1, Errno: syscall.EIO, Lost: true})
	wantErr(t, f.Sync(), syscall.EIO)
	if fault.Hits() != 1 {
		t.Errorf("%d hits, want 1", fault.Hits())
	}
	must(t, f.Sync())
	wantText(t, fs, "a", strings.Repeat("b", 1024)+strings.Repeat("a", 1024)) // from the page cache
	writeAt(t, f, 600, "c")                                                   // the second sector again
	must(t, f.Sync())
	cut(t, fs, powerfs.Drop)
	wantText(t, fs, "a", strings.Repeat("a", 512)+strings.Repeat("b", 88)+"c"+strings.Repeat("b", 423)+strings.Repeat("a", 1024))
}

// TestTearAfterFailedSync checks that a version that a failed sync has lost is never on
// the disk after a power loss.
func TestTearAfterFailedSync(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	seen := map[string]bool{}
	for range 40 {
		f := put(t, fs, "a", strings.Repeat("a", 512))
		writeAt(t, f, 0, strings.Repeat("b", 512))
		fs.Inject(powerfs.Fault{Op: powerfs.Sync, Count: 1, Errno: syscall.EIO, Lost: true})
		wantErr(t, f.Sync(), syscall.EIO)
		writeAt(t, f, 0, strings.Repeat("c", 512))
		cut(t, fs, powerfs.Tear)
		text, err := os.ReadFile(f.Name())
		must(t, err)
		seen[string(text[:1])] = true
	}
	if !seen["a"] || seen["b"] || !seen["c"] {
		t.Errorf("versions after the power losses: %v, want a and c", seen)
	}
}

// TestFailedSyncIsRandom checks that a failed sync writes a random part.
func TestFailedSyncIsRandom(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	none, some := 0, 0
	for range 40 {
		f := put(t, fs, "a", strings.Repeat("a", 8192))
		writeAt(t, f, 0, strings.Repeat("b", 8192))
		fs.Inject(powerfs.Fault{Op: powerfs.Sync, Count: 1, Errno: syscall.ENOSPC})
		wantErr(t, f.Sync(), syscall.ENOSPC)
		cut(t, fs, powerfs.Drop)
		text, err := os.ReadFile(f.Name())
		must(t, err)
		switch n := strings.Count(string(text), "b"); {
		case n == 0:
			none++
		case n%512 == 0:
			some++
		}
	}
	if none == 0 || some == 0 || none+some != 40 {
		t.Errorf("of 40 failed syncs, %d wrote nothing and %d wrote complete sectors, want both and 40 in sum", none, some)
	}
}

// TestFailedSyncIsReportedToAll checks that each open file returns the error of a failed
// sync once, whichever file fsync was called on.
func TestFailedSyncIsReportedToAll(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	first := put(t, fs, "a", "text")
	second := open(t, fs.Dir+"/a", os.O_RDWR)
	writeAt(t, first, 0, "more")
	fs.Inject(powerfs.Fault{Op: powerfs.Sync, Count: 1, Errno: syscall.EIO})
	wantErr(t, first.Sync(), syscall.EIO)
	third := open(t, fs.Dir+"/a", os.O_RDWR)
	must(t, third.Sync())
	wantErr(t, second.Sync(), syscall.EIO)
	for _, f := range []*os.File{first, second} {
		must(t, f.Sync())
	}
}

func TestFailedDirectorySync(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	open(t, fs.Dir+"/a", os.O_CREATE|os.O_RDWR)
	fs.Inject(powerfs.Fault{Op: powerfs.SyncDir, Count: 1, Match: ".", Errno: syscall.EIO})
	wantErr(t, syncDir(fs.Dir), syscall.EIO)
	cut(t, fs, powerfs.Drop)
	wantNames(t, fs)
	open(t, fs.Dir+"/a", os.O_CREATE|os.O_RDWR)
	fs.Inject(powerfs.Fault{Op: powerfs.SyncDir, Count: 1, Errno: syscall.EIO})
	wantErr(t, syncDir(fs.Dir), syscall.EIO)
	must(t, syncDir(fs.Dir))
	cut(t, fs, powerfs.Drop)
	wantNames(t, fs, "a")
}

// TestEvict checks that reads return the bytes on the disk after an eviction, except in
// pages that were written again.
func TestEvict(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	f := put(t, fs, "a", strings.Repeat("a", 3*4096))
	writeAt(t, f, 0, strings.Repeat("b", 3*4096))
	fs.Inject(powerfs.Fault{Op: powerfs.Sync, Count: 1, Errno: syscall.EIO, Lost: true})
	wantErr(t, f.Sync(), syscall.EIO)
	writeAt(t, f, 4096, "c")
	wantText(t, fs, "a", strings.Repeat("b", 4096)+"c"+strings.Repeat("b", 4095+4096))
	fs.Evict()
	wantText(t, fs, "a", strings.Repeat("a", 4096)+"c"+strings.Repeat("b", 4095)+strings.Repeat("a", 4096))
}

// TestDropCaches checks that DropCaches makes dirty pages durable and evicts all pages.
func TestDropCaches(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	f := put(t, fs, "a", strings.Repeat("a", 4096))
	writeAt(t, f, 0, strings.Repeat("b", 4096))
	fs.Inject(powerfs.Fault{Op: powerfs.Sync, Count: 1, Errno: syscall.EIO, Lost: true})
	wantErr(t, f.Sync(), syscall.EIO)
	writeAt(t, f, 0, "c")
	open(t, fs.Dir+"/new", os.O_CREATE|os.O_RDWR)
	fs.DropCaches()
	want := "c" + strings.Repeat("b", 511) + strings.Repeat("a", 3584)
	wantText(t, fs, "a", want)
	cut(t, fs, powerfs.Drop)
	wantText(t, fs, "a", want)
	wantNames(t, fs, "a", "new")
}

func TestAutomaticEviction(t *testing.T) {
	fs := newFS(t, powerfs.Options{Evict: true})
	f := put(t, fs, "a", "disk")
	writeAt(t, f, 0, "lost")
	fs.Inject(powerfs.Fault{Op: powerfs.Sync, Count: 1, Errno: syscall.EIO, Lost: true})
	wantErr(t, f.Sync(), syscall.EIO)
	test.Await(t, nil, 10*time.Second, "wait for the eviction", func() error {
		text, err := os.ReadFile(f.Name())
		if err == nil && string(text) != "disk" {
			err = errors.New(string(text))
		}
		return err
	})
}

func TestFaults(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	dir := fs.Dir + "/"
	must(t, os.Mkdir(dir+"sub", 0o755))
	f := put(t, fs, "sub/file.db", "text")
	size := int64(4)
	for _, test := range []struct {
		op powerfs.Op
		do func() error
	}{
		{powerfs.Write, func() error { _, err := f.WriteAt([]byte("text"), 0); return err }},
		{powerfs.Truncate, func() error { // the kernel sends no truncation to the same size
			size++
			return f.Truncate(size)
		}},
		{powerfs.Sync, f.Sync},
		{powerfs.SyncDir, func() error { return syncDir(dir + "sub") }},
		{powerfs.SetTimes, func() error { return os.Chtimes(dir+"sub/file.db", time.Now(), time.Now()) }},
		{powerfs.Open, func() error {
			f, err := os.Open(dir + "sub/file.db")
			f.Close()
			return err
		}},
		{powerfs.Create, func() error {
			os.Remove(dir + "sub/new")
			return os.WriteFile(dir+"sub/new", nil, 0o644)
		}},
		{powerfs.Mkdir, func() error {
			os.Remove(dir + "sub/dir")
			return os.Mkdir(dir+"sub/dir", 0o755)
		}},
		{powerfs.Rename, func() error {
			must(t, os.WriteFile(dir+"sub/old", nil, 0o644))
			return os.Rename(dir+"sub/old", dir+"sub/moved")
		}},
		{powerfs.Remove, func() error {
			must(t, os.WriteFile(dir+"sub/gone", nil, 0o644))
			return os.Remove(dir + "sub/gone")
		}},
	} {
		other := fs.Inject(powerfs.Fault{Op: test.op, Match: "elsewhere", Errno: syscall.EROFS})
		match := "sub/*"
		if test.op == powerfs.SyncDir {
			match = "sub"
		}
		fault := fs.Inject(powerfs.Fault{Op: test.op, Match: match, Nth: 2, Count: 2, Errno: syscall.ENOSPC})
		var got []bool
		for range 5 {
			err := test.do()
			if err != nil {
				wantErr(t, err, syscall.ENOSPC)
			}
			got = append(got, err != nil)
		}
		if !slices.Equal(got, []bool{false, true, true, false, false}) || fault.Hits() != 2 || other.Hits() != 0 {
			t.Errorf("op %d: failures %v, %d hits, %d hits of another file", test.op, got, fault.Hits(), other.Hits())
		}
		fs.ClearFaults()
	}
}

// TestFailedWrite checks that a failed write writes nothing or some of its first bytes.
func TestFailedWrite(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	none, some := 0, 0
	for i := range 40 {
		f := put(t, fs, "a", strings.Repeat("a", 1000))
		lost := i%2 == 1
		fs.Inject(powerfs.Fault{Op: powerfs.Write, Count: 1, Errno: syscall.EIO, Lost: lost})
		_, err := f.WriteAt([]byte(strings.Repeat("b", 1500)), 0)
		wantErr(t, err, syscall.EIO)
		text, err := os.ReadFile(f.Name())
		must(t, err)
		n := strings.Count(string(text), "b")
		if lost && n > 0 {
			t.Fatalf("a failed write with Lost wrote %d bytes", n)
		}
		if len(text) != 1000 || string(text) != strings.Repeat("b", n)+strings.Repeat("a", 1000-n) {
			t.Fatalf("a failed write left %q", short(text))
		}
		if n == 0 {
			none++
		} else {
			some++
		}
		fs.ClearFaults()
	}
	if none == 0 || some == 0 {
		t.Errorf("%d failed writes wrote nothing, %d wrote a part, want both", none, some)
	}
}

// TestCutAt checks that CutAt cuts the power before the operation has an effect.
func TestCutAt(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	f := put(t, fs, "a", "old")
	writes := fs.Inject(powerfs.Fault{Op: powerfs.Write})
	fs.CutAt(powerfs.Fault{Op: powerfs.Sync, Match: "a", Nth: 2}, powerfs.Drop)
	writeAt(t, f, 0, "new")
	must(t, f.Sync())
	writeAt(t, f, 0, "NEW")
	wantErr(t, f.Sync(), syscall.EIO)
	<-fs.Lost()
	if writes.Hits() != 2 {
		t.Errorf("%d writes counted, want 2", writes.Hits())
	}
	fs.ClearFaults()
	fs.Remount(t)
	wantText(t, fs, "a", "new")
	fs.CutAt(powerfs.Fault{Op: powerfs.Write}, powerfs.Drop)
	f = open(t, f.Name(), os.O_RDWR)
	_, err := f.WriteAt([]byte("x"), 0)
	wantErr(t, err, syscall.EIO)
	fs.Remount(t)
	wantText(t, fs, "a", "new")
}
