package powerfs

import (
	"path"
	"slices"
	"syscall"
)

// Op is a set of kinds of operations.
type Op int

// The kinds of operations. Sync syncs a file and SyncDir a directory. Truncate
// includes fallocate(2), Create includes link(2) and symlink(2), and SetTimes is
// utimensat(2).
const (
	Write Op = 1 << iota
	Truncate
	Sync
	SyncDir
	Open
	Create
	Mkdir
	Rename
	Remove
	Read
	SetTimes
)

// Changes are the operations that fail on a read-only file system.
const Changes = Write | Truncate | Sync | SyncDir | Create | Mkdir | Rename | Remove | SetTimes

// A Fault makes operations fail. Errors that a file system returns are EIO, ENOSPC and
// EROFS.
//
// A failed write has written a random number of its first bytes, which may be 0, and
// has not changed the size of the file.
type Fault struct {
	Op    Op
	Match string        // glob of the name or of the path below Dir, "" = all
	Nth   int           // number of the first operation to fail after Inject; 0 and 1 are the next one
	Count int           // number of operations that fail, 0 = all until Clear
	Errno syscall.Errno // 0 = only count the operations
	Lost  bool          // a failed operation has written nothing: no sector of a sync, no part of a write
}

// An Injection is an active Fault.
type Injection struct {
	fault Fault
	cut   bool // cut the power in this mode instead of returning the error
	mode  Mode
	fs    *FS
	seen  int // operations that match the fault
	hits  int // those of them that failed or were counted
}

// Inject starts a fault.
func (fs *FS) Inject(f Fault) *Injection {
	return fs.inject(&Injection{fault: f})
}

// CutAt cuts the power at an operation, before the operation has an effect. It ignores
// Errno of the fault.
func (fs *FS) CutAt(f Fault, mode Mode) *Injection {
	return fs.inject(&Injection{fault: f, cut: true, mode: mode})
}

func (fs *FS) inject(i *Injection) *Injection {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	i.fs = fs
	fs.faults = append(fs.faults, i)
	return i
}

// Hits returns the number of failed or counted operations.
func (i *Injection) Hits() int {
	i.fs.mu.Lock()
	defer i.fs.mu.Unlock()
	return i.hits
}

// Clear ends the fault.
func (i *Injection) Clear() {
	i.fs.mu.Lock()
	defer i.fs.mu.Unlock()
	i.fs.faults = slices.DeleteFunc(i.fs.faults, func(other *Injection) bool { return other == i })
}

// ClearFaults ends all faults.
func (fs *FS) ClearFaults() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.faults = nil
}

// fault returns the fault of an operation on one of these paths, nil if there is
// none.
func (fs *FS) fault(op Op, paths ...string) *Fault {
	for _, i := range fs.faults {
		if i.fault.Op&op == 0 || !i.fault.matches(paths) {
			continue
		}
		i.seen++
		first := max(i.fault.Nth, 1)
		if i.seen >= first && (i.fault.Count == 0 || i.seen < first+i.fault.Count) {
			i.hits++
			switch {
			case i.cut:
				fs.cut(i.mode)
				return &Fault{Errno: syscall.EIO}
			case i.fault.Errno != 0:
				return &i.fault
			}
		}
	}
	return nil
}

func (f Fault) matches(paths []string) bool {
	return f.Match == "" || slices.ContainsFunc(paths, func(p string) bool {
		whole, _ := path.Match(f.Match, p)
		base, _ := path.Match(f.Match, path.Base(p))
		return whole || base
	})
}
