package logging_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/logging"
)

// TestOpenErrors: Open refuses links, FIFOs and directories.
func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := os.Symlink(filepath.Join(dir, "target"), link); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	read := filepath.Join(dir, "read") // with a reader, the open of a FIFO does not block
	if err := unix.Mkfifo(read, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(read, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for _, path := range []string{link, fifo, read, dir, filepath.Join(dir, "none", "log")} {
		if l, err := logging.Open(path, logging.Owner{}); err == nil {
			l.Close()
			t.Errorf("%s was opened", path)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "target")); err == nil {
		t.Error("target of the link was created")
	}
}

// TestDescriptors: a refused, replaced or closed file leaves no open descriptor.
func TestDescriptors(t *testing.T) {
	dir := t.TempDir()
	path, second, link := filepath.Join(dir, "log"), filepath.Join(dir, "second"), filepath.Join(dir, "link")
	open(t, path).Close()
	if err := errors.Join(os.Link(path, second), os.Symlink(path, link)); err != nil {
		t.Fatal(err)
	}
	const times = 20
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the GC would close unreferenced files
	before := descriptors(t)
	for range times {
		l := open(t, path)
		for _, bad := range []string{dir, second, link, filepath.Join(dir, "none", "log")} {
			if l, err := logging.Open(bad, logging.Owner{Change: true, UID: os.Getuid(), GID: os.Getgid()}); err == nil {
				l.Close()
				t.Errorf("%s was opened", bad)
			}
			if err := logging.Check(bad); (err == nil) != (bad == second) {
				t.Errorf("Check(%s): error %v", bad, err)
			}
		}
		for range 3 { // a Reopen may replace a file before the writer has used it
			if err := l.Reopen(second); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if after := descriptors(t); after >= before+times { // other code may open or close a few files
		t.Errorf("%d descriptors, %d before the test", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func TestMode(t *testing.T) {
	old := unix.Umask(0o077) // as in the systemd unit
	defer unix.Umask(old)
	path := filepath.Join(t.TempDir(), "log")
	open(t, path).Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode of a new file is %v, error %v, want 0640", info, err)
	}
	// Open does not change the mode of an existing file.
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, path).Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of an existing file is %v, error %v, want 0600", info, err)
	}
}

func TestOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	path, second := filepath.Join(dir, "log"), filepath.Join(dir, "second")
	owner := logging.Owner{Change: true, UID: 65533, GID: 65532}
	l, err := logging.Open(path, owner)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Uid != 65533 || st.Gid != 65532 {
		t.Errorf("owner %d:%d, error %v, want 65533:65532", st.Uid, st.Gid, err)
	}
	if err := os.Link(path, second); err != nil {
		t.Fatal(err)
	}
	if l, err := logging.Open(second, owner); err == nil {
		l.Close()
		t.Error("file with two names was given to another owner")
	}
}

// TestLinkedDirectory: another user's link to a directory does not make root create a
// file elsewhere, or give root's file to the daemon's user.
func TestLinkedDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	roots, state := t.TempDir(), t.TempDir()
	owner := logging.Owner{Change: true, UID: 65533, GID: 65532}
	secret, planted := filepath.Join(roots, "secret"), filepath.Join(state, "logs")
	if err := errors.Join(
		os.WriteFile(secret, []byte("secret"), 0o600),
		os.Symlink(roots, planted),
		os.Lchown(planted, owner.UID, owner.GID),
	); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"secret", "new"} {
		if l, err := logging.Open(filepath.Join(planted, name), owner); err == nil {
			l.Close()
			t.Errorf("%s was opened through a link of another user", name)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(secret, &st); err != nil || st.Uid != 0 {
		t.Errorf("owner of root's file is %d, error %v", st.Uid, err)
	}
	if err := os.Lchown(planted, 0, 0); err != nil {
		t.Fatal(err)
	}
	l, err := logging.Open(filepath.Join(planted, "new"), owner)
	if err != nil {
		t.Fatalf("link of root to a directory: %v", err)
	}
	l.Close()
}
