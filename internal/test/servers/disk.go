package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"goguerrillad/internal/test"
)

// A Disk is a small ext4 file system on a loop device. A test can fill it and make it fail.
type Disk struct {
	Dir string // mount point, in which the user of the daemon may write

	image, device string
}

// NewDisk returns a disk with the given size in MiB. It needs root.
func NewDisk(t test.T, mebibytes int) *Disk {
	t.Helper()
	test.NeedRoot(t)
	test.Need(t, "mkfs.ext4", "e2fsck", "losetup", "blockdev", "mount", "umount")
	d := &Disk{Dir: test.ShortDir(t), image: filepath.Join(t.TempDir(), "image")}
	file, err := os.Create(d.image)
	if err == nil {
		err = errors.Join(file.Truncate(int64(mebibytes)<<20), file.Close())
	}
	if err != nil {
		t.Fatalf("make an image: %v", err)
	}
	// -m 0 reserves no blocks for root, so that the disk is full for all users at once.
	system(t, "mkfs.ext4", "-q", "-F", "-m", "0", "-E", fmt.Sprintf("root_owner=%d:%d", test.Nobody, test.Nobody), d.image)
	d.mount(t)
	t.Cleanup(func() { d.unmount(t) })
	return d
}

func system(t test.T, name string, args ...string) string {
	t.Helper()
	path, err := test.LookPath(name)
	if err != nil {
		t.Fatalf("%v", err)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (d *Disk) mount(t test.T) {
	t.Helper()
	d.device = system(t, "losetup", "-f", "--show", d.image)
	system(t, "mount", "-o", "errors=remount-ro", d.device, d.Dir)
}

// unmount unmounts the disk, even if processes have files open.
func (d *Disk) unmount(t test.T) {
	t.Helper()
	system(t, "umount", "-l", d.Dir)
	system(t, "losetup", "-d", d.device)
}

// Fill fills the disk with a file that Empty removes.
func (d *Disk) Fill(t test.T) {
	t.Helper()
	file, err := os.Create(d.ballast())
	if err != nil {
		t.Fatalf("fill the disk: %v", err)
	}
	defer file.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for chunk := make([]byte, size); err == nil; {
			_, err = file.Write(chunk)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("fill the disk: %v", err)
		}
		err = nil
	}
}

// Empty removes the file of Fill.
func (d *Disk) Empty(t test.T) {
	t.Helper()
	err := os.Remove(d.ballast())
	if err == nil { // without a sync, Fail could undo the removal
		var dir *os.File
		if dir, err = os.Open(d.Dir); err == nil {
			err = errors.Join(dir.Sync(), dir.Close())
		}
	}
	if err != nil {
		t.Fatalf("empty the disk: %v", err)
	}
}

func (d *Disk) ballast() string { return filepath.Join(d.Dir, "ballast") }

// Fail makes the kernel detect an error in the file system, so that the file system
// becomes read-only.
func (d *Disk) Fail(t test.T) {
	t.Helper()
	trigger := filepath.Join("/sys/fs/ext4", filepath.Base(d.device), "trigger_fs_error")
	if err := os.WriteFile(trigger, []byte("1"), 0); err != nil {
		t.Fatalf("make the disk fail: %v", err)
	}
}

// Repair mounts the disk again after Fail, with all data that was written before.
// Processes must open their files again.
func (d *Disk) Repair(t test.T) {
	t.Helper()
	system(t, "umount", "-l", d.Dir)
	// Open files keep the earlier mount alive. Flush its cached data now, so that it does
	// not overwrite the data of the next mount.
	system(t, "blockdev", "--flushbufs", d.device)
	system(t, "losetup", "-d", d.device)
	// Exit status 1 of e2fsck(8) means that errors were corrected.
	if out, err := exec.Command("e2fsck", "-fy", d.image).CombinedOutput(); err != nil {
		if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != 1 {
			t.Fatalf("repair the disk: %v\n%s", err, out)
		}
	}
	d.mount(t)
}
