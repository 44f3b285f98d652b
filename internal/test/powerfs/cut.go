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

// Cut cuts the power. It decides immediately what is on the disk, and every later
// operation of the mount fails with EIO. Faults and their counters stay. A second Cut
// has no effect.
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
	grain, moment := int64(sectorSize), func(_, _ uint64) uint64 { return 0 }
	if mode == Tear {
		if fs.rand.IntN(2) == 0 {
			grain = pageSize
		}
		moment = fs.moment(fs.rand.IntN(10))
	}
	numbers := sorted(fs.inodes)
	for _, number := range numbers {
		fs.inodes[number].file.settle(grain, moment)
	}
	// A file without a name may get an old name again.
	for _, o := range fs.log {
		for _, c := range o.changes {
			if c.before != nil && fs.inodes[c.before.number] == nil {
				c.before.file.settle(grain, moment)
			}
		}
	}
	fs.settleNames(fs.rand, mode == Drop)
}

// moment returns a function that returns a random moment: before all unsynced writes
// with a probability of likely in 10, otherwise after some or all of them.
func (fs *FS) moment(likely int) func(oldest, newest uint64) uint64 {
	return func(oldest, newest uint64) uint64 {
		switch {
		case fs.rand.IntN(10) < likely:
			return 0
		case fs.rand.IntN(3) == 0:
			return oldest + fs.rand.Uint64N(newest-oldest+1)
		}
		return math.MaxUint64
	}
}
