package powerfs

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"syscall"
	"time"
)

// An inode is a file, a directory or a symbolic link.
type inode struct {
	number   uint64
	mode     uint32 // type and permissions
	uid, gid uint32
	rdev     uint32
	mtime    time.Time
	ctime    time.Time

	links   int    // number of names
	lookups uint64 // references from the kernel

	parent *inode // a directory that contains it, nil for the root
	name   string // its name there

	file    file
	open    map[uint64]syscall.Errno // by handle: error of a failed sync, until it is reported
	target  string                   // of a symbolic link
	entries map[string]*inode        // of a directory
}

func (n *inode) is(kind uint32) bool { return n.mode&syscall.S_IFMT == kind }

// path returns the path relative to the root, which is ".".
func (n *inode) path() string {
	if n.parent == nil {
		return "."
	}
	return path.Join(n.parent.path(), n.name)
}

func (fs *FS) newInode(mode, uid, gid uint32) *inode {
	fs.last++
	now := time.Now()
	n := &inode{number: fs.last, mode: mode, uid: uid, gid: gid, mtime: now, ctime: now, open: make(map[uint64]syscall.Errno)}
	if n.is(syscall.S_IFDIR) {
		n.entries = make(map[string]*inode)
	}
	fs.inodes[n.number] = n
	return n
}

// A change replaces the inode of a name in a directory; nil = no inode.
type change struct {
	dir           *inode
	name          string
	before, after *inode
}

// An operation is a set of changes that become durable atomically.
type operation struct {
	changes []change
	// needs must be durable first, so that no file is lost. A rename to another directory
	// has two operations: the removal of the old name needs the new name.
	needs *operation
}

func (o *operation) changesAny(dirs map[*inode]bool) bool {
	return slices.ContainsFunc(o.changes, func(c change) bool { return dirs[c.dir] })
}

// apply makes changes and logs them until they are durable.
func (fs *FS) apply(needs *operation, changes ...change) *operation {
	o := &operation{changes: changes, needs: needs}
	for _, c := range changes {
		c.set(c.after)
	}
	for _, c := range changes {
		if c.after != nil {
			c.after.links++
			c.after.parent, c.after.name = c.dir, c.name
		}
		if c.before != nil {
			c.before.links--
			fs.release(c.before)
		}
		c.dir.mtime = time.Now()
		c.dir.ctime = c.dir.mtime
	}
	fs.log = append(fs.log, o)
	return o
}

func (c change) set(n *inode) {
	if n == nil {
		delete(c.dir.entries, c.name)
	} else {
		c.dir.entries[c.name] = n
	}
}

// release deletes an inode without references.
func (fs *FS) release(n *inode) {
	if n.links <= 0 && n.lookups == 0 && n != fs.root {
		delete(fs.inodes, n.number)
	}
}

// rename moves a name and replaces an existing name. A file that moves to another
// directory receives the new name before it loses the old one. A directory must not have
// two names, so it moves in one operation.
func (fs *FS) rename(from *inode, old string, to *inode, new string) {
	n, replaced := from.entries[old], to.entries[new]
	add, remove := change{to, new, replaced, n}, change{from, old, n, nil}
	if n == replaced {
		return
	}
	if from == to || n.is(syscall.S_IFDIR) {
		fs.apply(nil, add, remove)
		return
	}
	fs.apply(fs.apply(nil, add), remove)
}

// syncNames makes changes of names durable after a successful sync of n.
func (fs *FS) syncNames(n *inode) {
	switch {
	case fs.options.Names == Journaled:
		fs.log = nil
	case n.is(syscall.S_IFDIR) && len(fs.log) > 0:
		fs.commitDir(n)
	}
}

// commitDir makes the changes of a directory durable, with the operations that they need,
// and earlier changes of all directories that these operations change.
func (fs *FS) commitDir(dir *inode) {
	dirs, needed := map[*inode]bool{dir: true}, map[*operation]bool{}
	var kept []*operation
	for _, o := range slices.Backward(fs.log) {
		if !needed[o] && !o.changesAny(dirs) {
			kept = append(kept, o)
			continue
		}
		for _, c := range o.changes {
			dirs[c.dir] = true
		}
		if o.needs != nil {
			needed[o.needs] = true
		}
	}
	slices.Reverse(kept)
	fs.log = kept
}

// revertNamesToDisk makes the tree equal to the disk after a power loss. With drop no
// operation in the log survives. Otherwise a random part survives: any operations with
// Strict, the first ones with Journaled.
func (fs *FS) revertNamesToDisk(drop bool) {
	for _, o := range slices.Backward(fs.log) {
		for _, c := range slices.Backward(o.changes) {
			c.set(c.before)
		}
	}
	survived := make(map[*operation]bool)
	if !drop {
		prefix, likely := fs.rand.IntN(len(fs.log)+1), 1+fs.rand.IntN(9)
		pending := make(map[*operation]bool)
		for i, o := range fs.log {
			pending[o] = true
			if fs.options.Names == Journaled {
				survived[o] = i < prefix
			} else {
				survived[o] = fs.rand.IntN(10) < likely && (!pending[o.needs] || survived[o.needs])
			}
			if survived[o] {
				for _, c := range o.changes {
					c.set(c.after)
				}
			}
		}
	}
	fs.log = nil
	fs.inodes = make(map[uint64]*inode)
	fs.root.recountLinks(fs.inodes)
}

// recountLinks counts the names below a directory again. A directory can have two names
// if only some of its moves survived; recountLinks then removes the second one.
func (n *inode) recountLinks(seen map[uint64]*inode) {
	seen[n.number] = n
	n.links, n.lookups = 1, 0
	for _, name := range sorted(n.entries) {
		child := n.entries[name]
		switch {
		case seen[child.number] == nil:
			child.parent, child.name = n, name
			child.recountLinks(seen)
		case child.entries != nil:
			delete(n.entries, name)
		default:
			child.links++
		}
	}
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
