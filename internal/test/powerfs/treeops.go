package powerfs

import (
	"path"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// fail returns the error of an operation's fault, fuse.OK if there is none.
func (s *session) fail(op Op, paths ...string) fuse.Status {
	if f := s.fs.fault(op, paths...); f != nil {
		return fuse.Status(f.Errno)
	}
	return fuse.OK
}

func (n *inode) attr(out *fuse.Attr) {
	out.Ino, out.Mode, out.Rdev, out.Nlink = n.number, n.mode, n.rdev, uint32(n.links)
	out.Uid, out.Gid = n.uid, n.gid
	out.Size, out.Blocks, out.Blksize = uint64(n.file.size), uint64(n.file.size+511)/512, pageSize
	if n.is(syscall.S_IFLNK) {
		out.Size = uint64(len(n.target))
	}
	out.SetTimes(&n.mtime, &n.mtime, &n.ctime)
}

// replyEntry sends an inode to the kernel, which then has one more reference to it.
func (n *inode) replyEntry(out *fuse.EntryOut) fuse.Status {
	n.lookups++
	out.NodeId = n.number
	out.SetEntryTimeout(cacheTime)
	out.SetAttrTimeout(cacheTime)
	n.attr(&out.Attr)
	return fuse.OK
}

func (s *session) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return s.withInode(h.NodeId, func(dir *inode) fuse.Status {
		if n := dir.entries[name]; n != nil {
			return n.replyEntry(out)
		}
		out.SetEntryTimeout(cacheTime) // NodeId 0: the name does not exist until the kernel creates it
		return fuse.OK
	})
}

func (s *session) Forget(number, lookups uint64) {
	s.withInode(number, func(n *inode) fuse.Status {
		n.lookups -= min(lookups, n.lookups)
		s.fs.release(n)
		return fuse.OK
	})
}

// add creates an inode in a directory.
func (s *session) add(op Op, h *fuse.InHeader, name string, made inode, out *fuse.EntryOut) fuse.Status {
	return s.withInode(h.NodeId, func(dir *inode) fuse.Status {
		if dir.entries[name] != nil {
			return fuse.Status(syscall.EEXIST)
		}
		if status := s.fail(op, path.Join(dir.path(), name)); status != fuse.OK {
			return status
		}
		n := s.fs.newInode(made.mode, h.Uid, h.Gid)
		n.rdev, n.target = made.rdev, made.target
		s.fs.apply(nil, change{dir, name, nil, n})
		return n.replyEntry(out)
	})
}

func (s *session) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return s.add(Create, &in.InHeader, name, inode{mode: in.Mode, rdev: in.Rdev}, out)
}

func (s *session) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return s.add(Mkdir, &in.InHeader, name, inode{mode: syscall.S_IFDIR | in.Mode&0o7777}, out)
}

func (s *session) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	status := s.add(Create, &in.InHeader, name, inode{mode: syscall.S_IFREG | in.Mode&0o7777}, &out.EntryOut)
	if status != fuse.OK {
		return status
	}
	return s.withInode(out.NodeId, func(n *inode) fuse.Status {
		s.openFile(n, &out.OpenOut)
		return fuse.OK
	})
}

func (s *session) Symlink(_ <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return s.add(Create, h, name, inode{mode: syscall.S_IFLNK | 0o777, target: target}, out)
}

func (s *session) Readlink(_ <-chan struct{}, h *fuse.InHeader) (target []byte, status fuse.Status) {
	status = s.withInode(h.NodeId, func(n *inode) fuse.Status {
		target = []byte(n.target)
		return fuse.OK
	})
	return target, status
}

func (s *session) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	return s.withInode(in.NodeId, func(dir *inode) fuse.Status {
		n := s.fs.inodes[in.Oldnodeid]
		if n == nil || dir.entries[name] != nil {
			return fuse.Status(syscall.EEXIST)
		}
		if status := s.fail(Create, path.Join(dir.path(), name)); status != fuse.OK {
			return status
		}
		s.fs.apply(nil, change{dir, name, nil, n})
		return n.replyEntry(out)
	})
}

func (s *session) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return s.withInode(h.NodeId, func(dir *inode) fuse.Status {
		n := dir.entries[name]
		if n == nil {
			return fuse.ENOENT
		}
		if len(n.entries) > 0 {
			return fuse.Status(syscall.ENOTEMPTY)
		}
		if status := s.fail(Remove, path.Join(dir.path(), name)); status != fuse.OK {
			return status
		}
		s.fs.apply(nil, change{dir, name, n, nil})
		return fuse.OK
	})
}

func (s *session) Rmdir(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return s.Unlink(cancel, h, name) // the kernel has checked that name is a directory
}

func (s *session) Rename(_ <-chan struct{}, in *fuse.RenameIn, old, new string) fuse.Status {
	return s.withInode(in.NodeId, func(from *inode) fuse.Status {
		to := s.fs.inodes[in.Newdir]
		switch {
		case to == nil || from.entries[old] == nil:
			return fuse.ENOENT
		case in.Flags&^unix.RENAME_NOREPLACE != 0:
			return fuse.EINVAL
		case in.Flags == unix.RENAME_NOREPLACE && to.entries[new] != nil:
			return fuse.Status(syscall.EEXIST)
		case to.entries[new] != nil && len(to.entries[new].entries) > 0:
			return fuse.Status(syscall.ENOTEMPTY)
		}
		if status := s.fail(Rename, path.Join(from.path(), old), path.Join(to.path(), new)); status != fuse.OK {
			return status
		}
		s.fs.rename(from, old, to, new)
		return fuse.OK
	})
}

func (s *session) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return s.withInode(in.NodeId, func(dir *inode) fuse.Status {
		if status := s.fail(Open, dir.path()); status != fuse.OK {
			return status
		}
		s.handles++
		out.Fh = s.handles
		return fuse.OK
	})
}

// ReadDir lists a directory. Later parts of a listing do not contain changes that were
// made after its first part.
func (s *session) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return s.withInode(in.NodeId, func(dir *inode) fuse.Status {
		if in.Offset == 0 {
			list := []fuse.DirEntry{{Name: ".", Mode: syscall.S_IFDIR, Ino: dir.number}, {Name: "..", Mode: syscall.S_IFDIR}}
			for _, name := range sorted(dir.entries) {
				n := dir.entries[name]
				list = append(list, fuse.DirEntry{Name: name, Mode: n.mode, Ino: n.number})
			}
			for i := range list {
				list[i].Off = uint64(i + 1)
			}
			s.listings[in.Fh] = list
		}
		list := s.listings[in.Fh]
		for i := int(in.Offset); i < len(list) && out.AddDirEntry(list[i]); i++ {
		}
		return fuse.OK
	})
}

func (s *session) ReleaseDir(in *fuse.ReleaseIn) {
	s.withInode(in.NodeId, func(*inode) fuse.Status {
		delete(s.listings, in.Fh)
		return fuse.OK
	})
}

func (s *session) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return s.withInode(in.NodeId, func(dir *inode) fuse.Status {
		status := s.fail(SyncDir, dir.path())
		if status == fuse.OK {
			s.fs.syncNames(dir)
		}
		return status
	})
}

func (s *session) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	const blocks = 4 << 20
	out.Blocks, out.Bfree, out.Bavail, out.Bsize, out.Frsize, out.NameLen = blocks, blocks/2, blocks/2, pageSize, pageSize, 255
	return fuse.OK
}

func (s *session) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return s.withInode(in.NodeId, func(n *inode) fuse.Status {
		out.SetTimeout(cacheTime)
		n.attr(&out.Attr)
		return fuse.OK
	})
}

func (s *session) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return s.withInode(in.NodeId, func(n *inode) fuse.Status {
		mtime, setTime := in.GetMTime()
		if setTime {
			if status := s.fail(SetTimes, n.path()); status != fuse.OK {
				return status
			}
		}
		if size, ok := in.GetSize(); ok && int64(size) != n.file.size {
			if status := s.fail(Truncate, n.path()); status != fuse.OK {
				return status
			}
			n.file.truncate(s.fs.next(), int64(size))
			n.mtime = time.Now()
		}
		if mode, ok := in.GetMode(); ok {
			n.mode = n.mode&syscall.S_IFMT | mode&0o7777
		}
		if uid, ok := in.GetUID(); ok {
			n.uid = uid
		}
		if gid, ok := in.GetGID(); ok {
			n.gid = gid
		}
		if setTime {
			n.mtime = mtime
		}
		n.ctime = time.Now()
		out.SetTimeout(cacheTime)
		n.attr(&out.Attr)
		return fuse.OK
	})
}

// next returns the number of the next write or change of a size.
func (fs *FS) next() uint64 {
	fs.seq++
	return fs.seq
}
