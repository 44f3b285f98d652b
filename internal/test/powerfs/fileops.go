package powerfs

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

func (s *session) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return s.withInode(in.NodeId, func(n *inode) fuse.Status {
		if status := s.fail(Open, n.path()); status != fuse.OK {
			return status
		}
		s.openFile(n, out)
		return fuse.OK
	})
}

func (s *session) openFile(n *inode, out *fuse.OpenOut) {
	s.handles++
	out.Fh, out.OpenFlags = s.handles, fuse.FOPEN_KEEP_CACHE
	n.open[out.Fh] = 0
}

func (s *session) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	s.withInode(in.NodeId, func(n *inode) fuse.Status {
		delete(n.open, in.Fh)
		return fuse.OK
	})
}

func (s *session) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (result fuse.ReadResult, status fuse.Status) {
	status = s.withInode(in.NodeId, func(n *inode) fuse.Status {
		if status := s.fail(Read, n.path()); status != fuse.OK {
			return status
		}
		off := int64(in.Offset)
		buf = buf[:max(0, min(int64(len(buf)), n.file.size-off))]
		n.file.live.read(off, buf)
		result = fuse.ReadResultData(buf)
		return fuse.OK
	})
	return result, status
}

func (s *session) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (written uint32, status fuse.Status) {
	status = s.withInode(in.NodeId, func(n *inode) fuse.Status {
		n.mtime = time.Now()
		n.ctime = n.mtime
		if f := s.fs.fault(Write, n.path()); f != nil {
			if !s.dead && !f.Lost {
				// After an error the kernel ignores a new size.
				most := max(0, min(int64(len(data)), n.file.size-int64(in.Offset)))
				part := s.fs.rand.Int64N(2) * s.fs.rand.Int64N(most+1)
				n.file.write(s.fs.next(), int64(in.Offset), data[:part])
			}
			return fuse.Status(f.Errno)
		}
		n.file.write(s.fs.next(), int64(in.Offset), data)
		written = uint32(len(data))
		return fuse.OK
	})
	return written, status
}

func (s *session) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return s.withInode(in.NodeId, func(n *inode) fuse.Status {
		if f := s.fs.fault(Sync, n.path()); f != nil {
			if !s.dead && n.file.failSync(s.fs.rand, f.Lost) && s.fs.options.Evict {
				s.evictLater(n.number)
			}
			for other := range n.open {
				if other != in.Fh {
					n.open[other] = f.Errno
				}
			}
			return fuse.Status(f.Errno)
		}
		n.file.sync()
		s.fs.syncNames(n)
		unreported := n.open[in.Fh]
		if unreported != 0 {
			n.open[in.Fh] = 0
		}
		return fuse.Status(unreported)
	})
}

func (s *session) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	return s.withInode(in.NodeId, func(n *inode) fuse.Status {
		if status := s.fail(Truncate, n.path()); status != fuse.OK {
			return status
		}
		off, length := int64(in.Offset), int64(in.Length)
		switch in.Mode &^ unix.FALLOC_FL_KEEP_SIZE {
		case 0:
		case unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_ZERO_RANGE:
			n.file.zero(s.fs.next(), off, length)
		default:
			return fuse.Status(syscall.EOPNOTSUPP)
		}
		if in.Mode&unix.FALLOC_FL_KEEP_SIZE == 0 && off+length > n.file.size {
			n.file.truncate(s.fs.next(), off+length)
		}
		return fuse.OK
	})
}

// Flush returns ENOSYS, so that the kernel does not send Flush again.
func (s *session) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// Lseek returns ENOSYS, so that the kernel handles SEEK_HOLE as in a file without holes.
func (s *session) Lseek(<-chan struct{}, *fuse.LseekIn, *fuse.LseekOut) fuse.Status {
	return fuse.ENOSYS
}

func (s *session) String() string { return typeName }
