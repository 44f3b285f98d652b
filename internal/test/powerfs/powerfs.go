// Package powerfs is a file system in memory that simulates power losses. It separates
// synced data from written data. FUSE mounts it, so any program can be tested on it.
//
// Contents and sizes are durable after a successful fsync(2) or fdatasync(2) of
// the file. After a write by O_SYNC or O_DSYNC the kernel sends a sync of the file.
//
// Names (create, mkdir, rename, unlink, rmdir, link, symlink) follow one of two
// models. Strict is what POSIX guarantees: a change of a directory is durable
// after fsync(2) of the directory. A store that is correct on Strict is correct
// on each file system, so SQLite and the Maildir are tested with Strict.
// Journaled is what ext4 and XFS do: one log has all changes of names in their
// order, and fsync(2) of any file or directory commits the log up to then.
// ext4(5) and XFS document only what POSIX guarantees, but both must commit the
// transaction that created a file in order to commit its inode, and programs
// depend on that. InnoDB does not sync the directory of a file that it creates,
// so MariaDB is tested with Journaled.
//
// A change of an owner, a mode or a time is durable immediately.
//
// A failed sync has the effects that it has on Linux, which reports an error once to
// each open file (errseq_t) and marks the pages clean. A random part of the unsynced
// sectors reaches the disk. The bytes of the other sectors stay readable, but no later
// sync makes them durable; only a new write to the sector does. Sizes and names stay
// unsynced after a failed sync, and a later successful sync makes them durable: a
// journaling file system retries its journal, or stops.
//
// Shared memory mappings work, and so do locks of fcntl(2), which the kernel
// keeps. Direct I/O, extended attributes and O_TMPFILE do not work.
//
// A process must not touch mapped memory of a file system that it serves: a
// page fault stops the Go scheduler, which then cannot serve the page. Tests
// leave mapped files, such as an open SQLite database, to other processes.
package powerfs

import (
	"math/rand/v2"
	"os"
	"sync"
	"syscall"

	"goguerrillad/internal/test"
)

// Names is a model of when a change of a directory is durable.
type Names int

// The package comment describes the models.
const (
	Strict Names = iota
	Journaled
)

// Options are the properties of a file system.
type Options struct {
	Names Names
	// Evict makes the page cache drop the bytes that a failed sync has lost, at a
	// random time after the failure. Otherwise they stay readable until FS.Evict or a
	// power loss.
	Evict bool
	Rand  *rand.Rand // the source of all random decisions
}

// FS is a file system that is mounted until the end of the test.
type FS struct {
	Dir string // the mount point

	options Options

	mu      sync.Mutex
	rand    *rand.Rand
	root    *inode
	inodes  map[uint64]*inode // all inodes with a reference from the kernel or a directory
	last    uint64            // number of the newest inode
	seq     uint64            // number of the newest write or change of a size
	log     []*operation      // changes of names that are not durable, oldest first
	faults  []*Injection
	session *session // nil after Close
	closed  bool
}

// New mounts an empty file system, which every user may enter. It needs root.
func New(t test.T, o Options) *FS {
	t.Helper()
	test.NeedRoot(t)
	if _, err := os.Stat("/dev/fuse"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("FUSE is not available, and CI=true allows no skip: %v", err)
		}
		t.Skipf("FUSE is not available: %v", err)
	}
	removeAbandoned()
	fs := &FS{
		Dir:     test.PublicDir(t),
		options: o,
		rand:    rand.New(rand.NewPCG(o.Rand.Uint64(), o.Rand.Uint64())),
		inodes:  make(map[uint64]*inode),
	}
	fs.root = fs.newInode(syscall.S_IFDIR|0o755, 0, 0)
	t.Cleanup(fs.Close)
	fs.mount(t)
	return fs
}

// Remount mounts the file system again after Cut. Files that were opened before still
// return errors.
func (fs *FS) Remount(t test.T) {
	t.Helper()
	fs.session.end()
	fs.mount(t)
}

// Close unmounts the file system, also while processes have files open.
func (fs *FS) Close() {
	if !fs.closed {
		fs.closed = true
		fs.session.end()
	}
}
