package powerfs_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/powerfs"
)

// A python is a process that executes lines of Python and prints a result for each line.
type python struct {
	in  io.Writer
	out *bufio.Reader
}

const loop = `
import sys
while True:
    line = sys.stdin.readline()
    if not line: break
    try: exec(line); print("ok" if not "r" in globals() else r, flush=True)
    except Exception as e: print(type(e).__name__, e, flush=True)
    globals().pop("r", None)
`

func startPython(t *testing.T) *python {
	t.Helper()
	test.Need(t, "python3")
	cmd := exec.Command("python3", "-c", loop)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &python{in, bufio.NewReader(out)}
}

// do executes a line and returns the value that the line assigns to r, "ok" if it
// assigns no value.
func (p *python) do(t *testing.T, format string, args ...any) string {
	t.Helper()
	_, err := fmt.Fprintf(p.in, format+"\n", args...)
	must(t, err)
	result, err := p.out.ReadString('\n')
	must(t, err)
	return strings.TrimSpace(result)
}

// want executes a line and requires a result.
func (p *python) want(t *testing.T, want, format string, args ...any) {
	t.Helper()
	if got := p.do(t, format, args...); got != want {
		t.Errorf("%s: result %q, want %q", fmt.Sprintf(format, args...), got, want)
	}
}

func TestSharedMemory(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	a, b := startPython(t), startPython(t)
	path := filepath.Join(fs.Dir, "shm")
	a.want(t, "ok", "import mmap; f = open(%q, 'w+b'); f.truncate(8192); m = mmap.mmap(f.fileno(), 8192)", path)
	b.want(t, "ok", "import mmap; f = open(%q, 'r+b'); m = mmap.mmap(f.fileno(), 8192)", path)
	a.want(t, "ok", "m[5000:5005] = b'hello'")
	b.want(t, "b'hello'", "r = m[5000:5005]")
	b.want(t, "ok", "m[0:2] = b'hi'")
	a.want(t, "b'hi'", "r = m[0:2]")
	a.want(t, "ok", "import os; m.flush(); os.fsync(f.fileno())")
	must(t, syncDir(fs.Dir))
	cut(t, fs, powerfs.Drop)
	text, err := os.ReadFile(path)
	must(t, err)
	if string(text[:2]) != "hi" || string(text[5000:5005]) != "hello" {
		t.Error("synced bytes of a shared mapping were lost")
	}
}

func TestLocks(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	a, b := startPython(t), startPython(t)
	for _, p := range []*python{a, b} {
		p.want(t, "ok", "import fcntl; f = open(%q, 'a+b')", filepath.Join(fs.Dir, "lock"))
	}
	a.want(t, "ok", "fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5)")
	if got := b.do(t, "fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 14)"); !strings.HasPrefix(got, "BlockingIOError") {
		t.Errorf("lock a range that another process has locked: %s, want BlockingIOError", got)
	}
	b.want(t, "ok", "fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 15)")
	a.want(t, "ok", "f.close()")
	b.want(t, "ok", "fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 14)")
}

func TestAnotherUser(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	dir := filepath.Join(fs.Dir, "dir")
	must(t, os.Mkdir(dir, 0o755))
	create := func() error {
		cmd := exec.Command("touch", dir+"/a")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: test.Nobody, Gid: test.Nobody}}
		return cmd.Run()
	}
	if create() == nil {
		t.Error("nobody can write in a directory of root")
	}
	must(t, os.Chown(dir, test.Nobody, test.Nobody))
	must(t, create())
	info, err := os.Stat(dir + "/a")
	must(t, err)
	if st := info.Sys().(*syscall.Stat_t); st.Uid != test.Nobody || st.Gid != test.Nobody {
		t.Errorf("owner of the new file is %d:%d, want nobody", st.Uid, st.Gid)
	}
}

// TestSQLite checks that SQLite in another process loses no committed row in a power loss.
func TestSQLite(t *testing.T) {
	fs := newFS(t, powerfs.Options{})
	committed := 0
	for round := range 5 {
		p := startPython(t)
		p.want(t, "ok", "import sqlite3; d = sqlite3.connect(%q, isolation_level=None); e = d.execute", filepath.Join(fs.Dir, "a.db"))
		p.want(t, "ok", "e('PRAGMA journal_mode=WAL'); e('PRAGMA synchronous=FULL'); e('CREATE TABLE IF NOT EXISTS t (n, text)')")
		p.want(t, "ok", "old = e('SELECT count(*), ifnull(max(n), 0) FROM t').fetchone()")
		p.want(t, fmt.Sprintf("(%d, %d)", committed, committed), "r = old")
		start, n := time.Now(), 1000
		p.want(t, "ok", "for i in range(%d, %d): e('INSERT INTO t VALUES (?, ?)', (i, 'x' * 300))", committed+1, committed+n+1)
		committed += n
		t.Logf("%.0f commits/s", float64(n)/time.Since(start).Seconds())
		p.want(t, "ok", "e('BEGIN'); e('INSERT INTO t VALUES (-1, 0)')")
		cut(t, fs, powerfs.Mode(round%2))
	}
	p := startPython(t)
	p.want(t, "[('ok',)]", "import sqlite3; r = sqlite3.connect(%q).execute('PRAGMA integrity_check').fetchall()", filepath.Join(fs.Dir, "a.db"))
}

// TestClose checks that Close ends the mount and all goroutines while a process has files
// open.
func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	var dir string
	var p *python
	t.Run("inner", func(t *testing.T) {
		fs := newFS(t, powerfs.Options{Evict: true})
		dir = fs.Dir
		p = startPython(t)
		p.want(t, "ok", "import os; f = open(%q, 'w+b', 0); f.write(b'x')", filepath.Join(dir, "a"))
		p.want(t, "0", "r = sum(os.path.realpath('/proc/self/fd/%%d' %% n) == '/dev/fuse' for n in range(100))")
		fs.Inject(powerfs.Fault{Op: powerfs.Sync, Errno: syscall.EIO, Lost: true})
		if got := p.do(t, "os.fsync(f.fileno())"); !strings.HasPrefix(got, "OSError") {
			t.Error(got)
		}
		cut(t, fs, powerfs.Drop)
		p.want(t, "ok", "g = open(%q, 'w+b', 0); os.chdir(%q)", filepath.Join(dir, "b"), dir)
		fs.Close()
		if got := p.do(t, "g.write(b'x')"); !strings.HasPrefix(got, "OSError") {
			t.Errorf("write after Close: %s, want OSError", got)
		}
	})
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	if strings.Contains(string(mounts), dir) {
		t.Errorf("the file system is still mounted: %s", mounts)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory still exists: %v", err)
	}
	test.Await(t, nil, 10*time.Second, "wait for goroutines to end", func() error {
		if n := runtime.NumGoroutine(); n > before {
			return fmt.Errorf("%d goroutines, want %d", n, before)
		}
		return nil
	})
}
