package powerfs

import "math"

// A Mode is what a power loss leaves of unsynced changes.
type Mode int

const (
	// Drop leaves nothing.
	Drop Mode = iota
	// Tear leaves a random part: of each sector or 4-KiB block a version since the
	// last sync, some sizes, some names.
	Tear
)

// Cut cuts the power. It decides immediately which unsynced changes are on the disk, and
// every later operation of the mount fails with EIO. Faults and their counters stay. A
// second Cut has no effect.
func (fs *FS) Cut(mode Mode) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.cut(mode)
}

// Lost returns a channel that is closed when the current mount loses its power.
func (fs *FS) Lost() <-chan struct{} {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.session.lost
}

func (fs *FS) cut(mode Mode) {
	if fs.session.dead {
		return
	}
	fs.session.dead = true
	close(fs.session.lost)
	blockSize, lastOnDisk := int64(sectorSize), func(_, _ uint64) uint64 { return 0 }
	if mode == Tear {
		if fs.rand.IntN(2) == 0 {
			blockSize = pageSize
		}
		lastOnDisk = fs.lastOnDisk(fs.rand.IntN(10))
	}
	for _, number := range sorted(fs.inodes) {
		fs.inodes[number].file.revertToDisk(blockSize, lastOnDisk)
	}
	// A file without a name may get an old name again.
	for _, o := range fs.log {
		for _, c := range o.changes {
			if c.before != nil && fs.inodes[c.before.number] == nil {
				c.before.file.revertToDisk(blockSize, lastOnDisk)
			}
		}
	}
	fs.revertNamesToDisk(mode == Drop)
}

// lastOnDisk returns a function that chooses, at random, the last of some unsynced writes
// that is on the disk: with a probability of none in 10 no write, otherwise any of them
// or all.
func (fs *FS) lastOnDisk(none int) func(oldest, newest uint64) uint64 {
	return func(oldest, newest uint64) uint64 {
		switch {
		case fs.rand.IntN(10) < none:
			return 0
		case fs.rand.IntN(3) == 0:
			return oldest + fs.rand.Uint64N(newest-oldest+1)
		}
		return math.MaxUint64
	}
}
