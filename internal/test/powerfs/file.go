package powerfs

import (
	"math"
	"math/rand/v2"
	"slices"
)

const (
	sectorSize = 512
	pageSize   = 4096
)

// A file has the bytes that processes read, and how the bytes on the disk differ.
type file struct {
	live content
	size int64

	pending      []extent // unsynced writes, oldest first
	sizes        []resize // unsynced changes of the size, oldest first
	pendingBytes int64    // bytes in pending
	limit        int64    // coalesce pending above this number of bytes

	// stale has the bytes on the disk of the sectors that a failed sync has lost. No
	// sector is in both stale and pending.
	stale map[int64]*sector
}

type sector [sectorSize]byte

// An extent has the sectors of one write as they were before the write.
type extent struct {
	seq       uint64
	off       int64
	before    []byte
	truncated bool // by a truncation; durable if the new size is
}

type resize struct {
	seq    uint64
	before int64
}

// minLimit is the minimum of file.limit.
const minLimit = 32 << 20

// write changes the bytes. The change is durable after sync.
func (f *file) write(seq uint64, off int64, data []byte) {
	if len(data) == 0 {
		return
	}
	f.saveBefore(seq, off, int64(len(data)), false)
	f.live.write(off, data)
	if end := off + int64(len(data)); end > f.size {
		f.resize(seq, end)
	}
}

// zero writes zeros within the size.
func (f *file) zero(seq uint64, off, n int64) {
	n = min(n, f.size-off)
	if n > 0 {
		f.saveBefore(seq, off, n, false)
		f.live.zero(off, n)
	}
}

// truncate changes the size.
func (f *file) truncate(seq uint64, size int64) {
	if size < f.size {
		f.saveBefore(seq, size, f.size-size, true)
		f.live.zero(size, f.size-size)
	}
	if size != f.size {
		f.resize(seq, size)
	}
}

func (f *file) resize(seq uint64, size int64) {
	f.sizes = append(f.sizes, resize{seq, f.size})
	f.size = size
}

// saveBefore saves the sectors that a write is about to change.
func (f *file) saveBefore(seq uint64, off, n int64, cut bool) {
	first, end := off/sectorSize, (off+n+sectorSize-1)/sectorSize
	e := extent{seq: seq, off: first * sectorSize, before: make([]byte, (end-first)*sectorSize), truncated: cut}
	f.live.read(e.off, e.before)
	if len(f.stale) > 0 {
		for s := first; s < end; s++ {
			if disk := f.stale[s]; disk != nil {
				copy(e.before[(s-first)*sectorSize:], disk[:])
				delete(f.stale, s)
			}
		}
	}
	f.pending = append(f.pending, e)
	if f.pendingBytes += int64(len(e.before)); f.pendingBytes > max(f.limit, minLimit) {
		f.coalesce()
	}
}

// coalesce drops all saved versions of each sector except the oldest, which is the
// version on the disk.
func (f *file) coalesce() {
	oldest := make(map[int64][]byte)
	for _, e := range f.pending {
		for at := 0; at < len(e.before); at += sectorSize {
			if s := (e.off + int64(at)) / sectorSize; oldest[s] == nil {
				oldest[s] = e.before[at : at+sectorSize]
			}
		}
	}
	seq := f.pending[0].seq
	f.pending, f.pendingBytes = nil, 0
	for s, before := range oldest {
		f.pending = append(f.pending, extent{seq: seq, off: s * sectorSize, before: slices.Clone(before)})
		f.pendingBytes += sectorSize
	}
	f.limit = 2 * f.pendingBytes
}

// sync makes all writes durable, except in stale sectors.
func (f *file) sync() {
	f.pending, f.sizes, f.pendingBytes = nil, nil, 0
}

// failSync decides at random which unsynced sectors reach the disk; with lost, none
// does. It reports whether a sector is stale now.
func (f *file) failSync(r *rand.Rand, lost bool) bool {
	disk := make(map[int64][]byte)
	for _, e := range f.pending {
		for at := 0; at < len(e.before); at += sectorSize {
			s := (e.off + int64(at)) / sectorSize
			if e.truncated { // a truncation writes only the size
				delete(disk, s)
			} else if disk[s] == nil {
				disk[s] = e.before[at : at+sectorSize]
			}
		}
		if e.truncated {
			f.sizes = nil // a size that is not durable would restore the truncated bytes
		}
	}
	f.pending, f.pendingBytes = nil, 0
	if f.stale == nil {
		f.stale = make(map[int64]*sector)
	}
	lost = lost || r.IntN(2) == 0
	for _, s := range sorted(disk) { // so that the result depends only on the seed
		if lost || r.IntN(2) == 0 {
			f.stale[s] = (*sector)(slices.Clone(disk[s]))
		}
	}
	return len(f.stale) > 0
}

// evict replaces the stale sectors of clean pages by the sectors on the disk.
func (f *file) evict() {
	dirty := make(map[int64]bool)
	for _, e := range f.pending {
		for off := e.off; off < e.off+int64(len(e.before)); off += sectorSize {
			dirty[off/pageSize] = true
		}
	}
	for s, disk := range f.stale {
		if !dirty[s*sectorSize/pageSize] {
			f.live.write(s*sectorSize, disk[:])
			delete(f.stale, s)
		}
	}
}

// revertToDisk makes the file equal to the disk after a power loss. lastOnDisk returns the
// last unsynced write that has reached the disk, separately for each block and for the
// size.
func (f *file) revertToDisk(blockSize int64, lastOnDisk func(oldest, newest uint64) uint64) {
	var oldest, newest uint64
	if n := len(f.pending); n > 0 {
		oldest, newest = f.pending[0].seq, f.pending[n-1].seq
	}
	lastSize := lastOnDisk(oldest, newest)
	lastWrite := make(map[int64]uint64) // by block
	for _, e := range slices.Backward(f.pending) {
		for at := 0; at < len(e.before); at += sectorSize {
			off := e.off + int64(at)
			last := lastSize
			if !e.truncated {
				var known bool
				if last, known = lastWrite[off/blockSize]; !known {
					last = lastOnDisk(oldest, newest)
					lastWrite[off/blockSize] = last
				}
			}
			if e.seq > last {
				f.live.write(off, e.before[at:at+sectorSize])
			}
		}
	}
	for s, disk := range f.stale {
		f.live.write(s*sectorSize, disk[:])
	}
	for _, z := range slices.Backward(f.sizes) {
		if z.seq > lastSize {
			f.size = z.before
		}
	}
	f.live.zero(f.size, math.MaxInt64-f.size)
	f.stale = nil
	f.sync()
}
