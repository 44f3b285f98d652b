package powerfs

import (
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

	"goguerrillad/internal/testserver"
)

// A session is one mount of the file system, from New or Remount to the next.
type session struct {
	fuse.RawFileSystem // ENOSYS for the rest

	fs         *FS
	server     *fuse.Server
	connection uint32        // number of the FUSE connection
	served     chan struct{} // closed when nothing is served any more
	ended      chan struct{} // closed by end
	evictions  sync.WaitGroup

	// Below fs.mu.
	dead    bool // the power is cut, or the session has ended
	listed  map[uint64][]fuse.DirEntry
	handles uint64
}

const (
	typeName = "powerfs"
	// keep is how long the kernel may use what it knows; only it makes changes.
	keep     = 24 * time.Hour
	maxWrite = 256 << 10
	// patience is for the kernel to notice an unmount.
	patience = 10 * time.Millisecond
)

func (fs *FS) mount(t testserver.T) {
	t.Helper()
	s := &session{
		RawFileSystem: fuse.NewDefaultRawFileSystem(), fs: fs,
		served: make(chan struct{}), ended: make(chan struct{}), listed: make(map[uint64][]fuse.DirEntry),
	}
	server, err := fuse.NewServer(s, fs.Dir, &fuse.MountOptions{
		AllowOther: true, Options: []string{"default_permissions"}, DirectMountStrict: true,
		FsName: typeName, Name: typeName, MaxWrite: maxWrite,
		DisableXAttrs: true, DisableReadDirPlus: true, ExplicitDataCacheControl: true,
		Logger:       log.New(io.Discard, "", 0), // reports nothing but the end of a mount
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
	if err := server.WaitMount(); err != nil {
		t.Fatalf("mount %s: %v", fs.Dir, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(fs.Dir, &st); err != nil {
		t.Fatalf("mount %s: %v", fs.Dir, err)
	}
	s.connection = unix.Minor(st.Dev)
}

// end unmounts, if need be below processes that have files open, and waits until
// nothing is served.
func (s *session) end() {
	s.fs.mu.Lock()
	s.dead = true
	s.fs.mu.Unlock()
	close(s.ended)
	_ = unix.Unmount(s.fs.Dir, unix.MNT_DETACH) // if it is unmounted already, all the better
	select {
	case <-s.served:
	case <-time.After(patience):
		abort(s.connection)
		<-s.served
	}
	s.evictions.Wait()
}

// abort ends a connection that processes still use, by the file system that the
// kernel has for this. It is mounted in a place of our own for the moment.
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

// removeAbandoned unmounts what a test has left that was killed.
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

// on runs an operation on an inode, one operation at a time.
func (s *session) on(number uint64, do func(n *inode) fuse.Status) fuse.Status {
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

// Evict has the bytes that failed syncs have lost disappear from the page cache
// now. Pages with newer unsynced bytes stay.
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

func (s *session) evict(number uint64) {
	status := s.on(number, func(n *inode) fuse.Status {
		n.file.evict()
		return fuse.OK
	})
	if status == fuse.OK {
		// Without the lock: the kernel waits for operations on these pages.
		s.server.InodeNotify(number, 0, 0)
	}
}

// mostDelay is the longest time from a failed sync to the eviction.
const mostDelay = 300 * time.Millisecond

// evictLater calls evict after a random time.
func (s *session) evictLater(number uint64) {
	delay := time.Duration(s.fs.rand.Int64N(int64(mostDelay)))
	s.evictions.Go(func() {
		select {
		case <-time.After(delay):
			s.evict(number)
		case <-s.ended:
		}
	})
}
