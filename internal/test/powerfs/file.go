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

// A file has the bytes that processes read, and the differences on the disk.
type file struct {
	live content
	size int64

	pending []extent // unsynced writes, oldest first
	sizes   []resize // unsynced changes of the size, oldest first
	held    int64    // bytes in pending
	most    int64    // fold pending above this number of bytes

	// stale has the bytes on the disk of the sectors that a failed sync has lost. No
	// sector is in both stale and pending.
	stale map[int64]*sector
}

type sector [sectorSize]byte

// An extent has the sectors of one write as they were before the write.
type extent struct {
	seq    uint64
	off    int64
	before []byte
	cut    bool // made by a truncation, durable if the size is
}

type resize struct {
	seq    uint64
	before int64
}

// foldBytes is the number of bytes of unsynced writes above which only the version on
// the disk and the newest version are kept.
const foldBytes = 32 << 20

// write changes the bytes. The change is durable after sync.
func (f *file) write(seq uint64, off int64, data []byte) {
	if len(data) == 0 {
		return
	}
	f.touch(seq, off, int64(len(data)), false)
	f.live.write(off, data)
	if end := off + int64(len(data)); end > f.size {
		f.resize(seq, end)
	}
}

// zero writes zeros within the size.
func (f *file) zero(seq uint64, off, n int64) {
	n = min(n, f.size-off)
	if n > 0 {
		f.touch(seq, off, n, false)
		f.live.zero(off, n)
	}
}

// truncate changes the size.
func (f *file) truncate(seq uint64, size int64) {
	if size < f.size {
		f.touch(seq, size, f.size-size, true)
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

// touch saves the sectors that a write is about to change.
func (f *file) touch(seq uint64, off, n int64, cut bool) {
	first, end := off/sectorSize, (off+n+sectorSize-1)/sectorSize
	e := extent{seq: seq, off: first * sectorSize, before: make([]byte, (end-first)*sectorSize), cut: cut}
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
	if f.held += int64(len(e.before)); f.held > max(f.most, foldBytes) {
		f.fold()
	}
}

// fold keeps only the oldest version of each sector.
func (f *file) fold() {
	oldest := make(map[int64][]byte)
	for _, e := range f.pending {
		for at := 0; at < len(e.before); at += sectorSize {
			if s := (e.off + int64(at)) / sectorSize; oldest[s] == nil {
				oldest[s] = e.before[at : at+sectorSize]
			}
		}
	}
	seq := f.pending[0].seq
	f.pending, f.held = nil, 0
	for s, before := range oldest {
		f.pending = append(f.pending, extent{seq: seq, off: s * sectorSize, before: slices.Clone(before)})
		f.held += sectorSize
	}
	f.most = 2 * f.held
}

// sync makes all writes durable, except in stale sectors.
func (f *file) sync() {
	f.pending, f.sizes, f.held = nil, nil, 0
}

// failSync decides at random which unsynced sectors have reached the disk, none if
// lost is set. It reports whether a sector is stale now.
func (f *file) failSync(r *rand.Rand, lost bool) bool {
	disk := make(map[int64][]byte)
	for _, e := range f.pending {
		for at := 0; at < len(e.before); at += sectorSize {
			s := (e.off + int64(at)) / sectorSize
			if e.cut { // only the size is written for it
				delete(disk, s)
			} else if disk[s] == nil {
				disk[s] = e.before[at : at+sectorSize]
			}
		}
		if e.cut {
			f.sizes = nil // a size that is not durable would restore the truncated bytes
		}
	}
	f.pending, f.held = nil, 0
	if f.stale == nil {
		f.stale = make(map[int64]*sector)
	}
	lost = lost || r.IntN(2) == 0
	for _, s := range sorted(disk) { // the order of a map is not from the seed
		if lost || r.IntN(2) == 0 {
			f.stale[s] = (*sector)(slices.Clone(disk[s]))
		}
	}
	return len(f.stale) > 0
}

// evict makes reads return stale sectors of clean pages as they are on the disk.
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

// settle makes the file equal to the disk after a power loss. moment returns up to
// which unsynced write a block of grain bytes has reached the disk. The size has its
// own moment.
func (f *file) settle(grain int64, moment func(oldest, newest uint64) uint64) {
	var oldest, newest uint64
	if n := len(f.pending); n > 0 {
		oldest, newest = f.pending[0].seq, f.pending[n-1].seq
	}
	sizeMoment := moment(oldest, newest)
	moments := make(map[int64]uint64)
	for _, e := range slices.Backward(f.pending) {
		for at := 0; at < len(e.before); at += sectorSize {
			off := e.off + int64(at)
			until := sizeMoment
			if !e.cut {
				var known bool
				if until, known = moments[off/grain]; !known {
					until = moment(oldest, newest)
					moments[off/grain] = until
				}
			}
			if e.seq > until {
				f.live.write(off, e.before[at:at+sectorSize])
			}
		}
	}
	for s, disk := range f.stale {
		f.live.write(s*sectorSize, disk[:])
	}
	for _, z := range slices.Backward(f.sizes) {
		if z.seq > sizeMoment {
			f.size = z.before
		}
	}
	f.live.zero(f.size, math.MaxInt64-f.size)
	f.stale = nil
	f.sync()
}
