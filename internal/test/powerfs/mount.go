package powerfs

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"goguerrillad/internal/test"
)

// A session is one mount of the file system, from New or Remount to the next Remount.
type session struct {
	fuse.RawFileSystem // returns ENOSYS for all operations that session lacks

	fs         *FS
	server     *fuse.Server
	connection uint32        // its number in fusectl
	served     chan struct{} // closed when the server has ended
	ended      chan struct{} // closed by end
	lost       chan struct{} // closed when the power is cut
	evictions  sync.WaitGroup

	// Guarded by fs.mu.
	dead     bool // the power is cut, or the session has ended
	listings map[uint64][]fuse.DirEntry
	handles  uint64
}

const (
	typeName = "powerfs"
	// cacheTime is how long the kernel may cache names and attributes, since only the
	// kernel changes them.
	cacheTime = 24 * time.Hour
	maxWrite  = 256 << 10
	// unmountTimeout bounds the time until the kernel ends a mount.
	unmountTimeout = 10 * time.Millisecond
)

func (fs *FS) mount(t test.T) {
	t.Helper()
	s := &session{
		RawFileSystem: fuse.NewDefaultRawFileSystem(), fs: fs,
		served: make(chan struct{}), ended: make(chan struct{}), lost: make(chan struct{}), listings: make(map[uint64][]fuse.DirEntry),
	}
	device, err := attach(fs.Dir)
	if err != nil {
		t.Fatalf("mount %s: %v", fs.Dir, err)
	}
	server, err := fuse.NewServer(s, fmt.Sprintf("/dev/fd/%d", device), &fuse.MountOptions{
		Name: typeName, MaxWrite: maxWrite,
		DisableXAttrs: true, DisableReadDirPlus: true, ExplicitDataCacheControl: true,
		Logger:       log.New(io.Discard, "", 0), // it reports only the end of a mount
		PanicHandler: func(why any) fuse.Status { panic(why) },
	})
	if err != nil {
		t.Fatalf("mount %s: %v", fs.Dir, err)
	}
	s.server = server
	fs.mu.Lock()
	fs.session = s
	fs.mu.Unlock()
	go func() {
		defer close(s.served)
		server.Serve()
	}()
	if err := denyPoll(fs.Dir); err != nil {
		t.Fatalf("mount %s: %v", fs.Dir, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(fs.Dir, &st); err != nil {
		t.Fatalf("mount %s: %v", fs.Dir, err)
	}
	s.connection = unix.Minor(st.Dev)
}

// attach mounts a FUSE device and returns its descriptor. Child processes do not inherit
// the descriptor: after the end of a killed test they would keep its connection open, and
// wait forever for replies.
func attach(dir string) (device int, err error) {
	device, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	data := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0,max_read=%d,allow_other,default_permissions",
		device, unix.S_IFDIR, maxWrite)
	if err := unix.Mount(typeName, dir, "fuse."+typeName, unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		return 0, errors.Join(err, unix.Close(device))
	}
	return device, nil
}

// denyPoll makes the kernel send a poll request, which fails with ENOSYS, so that the
// kernel sends no other. Otherwise Go's scheduler would poll when a test opens a file, and
// could not serve the request. go-fuse defines the file name.
func denyPoll(dir string) error {
	fd, err := unix.Open(filepath.Join(dir, ".go-fuse-epoll-hack"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return errors.Join(err, unix.Close(fd))
}

// end unmounts, even if processes have files open, and waits for the end of the server.
func (s *session) end() {
	s.fs.mu.Lock()
	s.dead = true
	s.fs.mu.Unlock()
	close(s.ended)
	_ = unix.Unmount(s.fs.Dir, unix.MNT_DETACH) // fails if it is unmounted already
	select {
	case <-s.served:
	case <-time.After(unmountTimeout):
		abort(s.connection)
		<-s.served
	}
	s.evictions.Wait()
}

// abort ends a connection that processes still use. It mounts fusectl, the control file
// system of FUSE, in a temporary directory.
func abort(connection uint32) {
	dir, err := os.MkdirTemp("", typeName)
	if err != nil {
		return
	}
	defer os.Remove(dir)
	if err := unix.Mount("fusectl", dir, "fusectl", 0, ""); err != nil {
		return
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	_ = os.WriteFile(filepath.Join(dir, fmt.Sprint(connection), "abort"), []byte("1"), 0)
}

// removeAbandoned unmounts the file systems of killed tests.
func removeAbandoned() {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[2] != "fuse."+typeName {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(fields[1], &st) == syscall.ENOTCONN && unix.Unmount(fields[1], unix.MNT_DETACH) == nil {
			_ = os.Remove(fields[1])
		}
	}
}

// withInode runs an operation on an inode. Only one operation runs at a time.
func (s *session) withInode(number uint64, do func(n *inode) fuse.Status) fuse.Status {
	s.fs.mu.Lock()
	defer s.fs.mu.Unlock()
	if s.dead {
		return fuse.EIO
	}
	n := s.fs.inodes[number]
	if n == nil {
		return fuse.Status(syscall.ESTALE)
	}
	return do(n)
}

// Evict makes the page cache drop the bytes that failed syncs have lost. Pages with newer
// unsynced bytes stay.
func (fs *FS) Evict() {
	fs.mu.Lock()
	var numbers []uint64
	for _, number := range sorted(fs.inodes) {
		if len(fs.inodes[number].file.stale) > 0 {
			numbers = append(numbers, number)
		}
	}
	s := fs.session
	fs.mu.Unlock()
	for _, number := range numbers {
		s.evict(number)
	}
}

// DropCaches has the effect of unmounting and mounting without a power loss: all dirty
// data becomes durable, and the page cache drops the bytes that failed syncs have lost.
func (fs *FS) DropCaches() {
	fs.mu.Lock()
	if !fs.session.dead {
		for _, n := range fs.inodes {
			n.file.sync()
		}
		fs.log = nil
	}
	fs.mu.Unlock()
	fs.Evict()
}

func (s *session) evict(number uint64) {
	status := s.withInode(number, func(n *inode) fuse.Status {
		n.file.evict()
		return fuse.OK
	})
	if status == fuse.OK {
		// Without the lock, since the kernel waits for operations on these pages.
		s.server.InodeNotify(number, 0, 0)
	}
}

// maxDelay bounds the time from a failed sync to the eviction.
const maxDelay = 300 * time.Millisecond

// evictLater calls evict after a random time.
func (s *session) evictLater(number uint64) {
	delay := time.Duration(s.fs.rand.Int64N(int64(maxDelay)))
	s.evictions.Go(func() {
		select {
		case <-time.After(delay):
			s.evict(number)
		case <-s.ended:
		}
	})
}
