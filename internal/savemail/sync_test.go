package savemail_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/savemail"
)

// TestSyncName: SyncName returns nil if this user has no permission to read the
// parent directory, and returns any other error.
func TestSyncName(t *testing.T) {
	top := t.TempDir()
	above := filepath.Join(top, "above")
	dir, link := filepath.Join(above, "dir"), filepath.Join(top, "link")
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Symlink(dir, link), os.Chmod(above, 0o311), os.Chmod(filepath.Dir(top), 0o711)); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(above, 0o755)
	errs := make(chan error, 3)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		if os.Geteuid() == 0 {
			unix.SetfsuidRetUid(65534)
		}
		errs <- savemail.SyncDir(above)
		errs <- savemail.SyncName(dir)
		errs <- savemail.SyncName(link)
	}()
	if err := <-errs; !errors.Is(err, fs.ErrPermission) {
		t.Errorf("SyncDir without permission: got %v, want ErrPermission", err)
	}
	if err := errors.Join(<-errs, <-errs); err != nil {
		t.Errorf("SyncName without permission for the parent: %v", err)
	}
	for _, name := range []string{dir + "/none", "none"} {
		if err := savemail.SyncName(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("SyncName(%q): got %v, want ErrNotExist", name, err)
		}
	}
}
