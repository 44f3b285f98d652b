package faults

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/test/powerfs"
)

// A failure is a kind of operations that fail.
type failure struct {
	name     string
	creation bool // occurs when the daemon creates its file or directories
	powerfs.Fault
}

// powerFaults n times makes operations fail and then cuts the power.
func powerFaults(t *testing.T, store string, n int, m func() medium) {
	r, l := newRand(t), &ledger{store: store}
	defer l.printPower(t)
	hits := make(map[string]int)
	var order []failure // shuffled again after each failure was applied once
	series(t, n, 3, func(t *testing.T, n int) {
		p := newPowerTest(t, m(), r, l)
		for i := range n {
			if len(order) == 0 {
				order = p.medium.failures()
				r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			}
			y := order[0]
			order = order[1:]
			inStart := r.IntN(4) == 0
			if i == 0 && r.IntN(2) == 0 {
				y, inStart = pickCreation(r, p.medium.failures()), true
			}
			chain := []failure{y}
			for r.IntN(10) < 3 { // several failures before the power is cut
				all := p.medium.failures()
				chain = append(chain, all[r.IntN(len(all))])
			}
			name := y.name
			if len(chain) > 1 {
				name = "several failures"
			}
			p.outage(t, name, func(t *testing.T, p *powerTest) {
				for _, y := range chain {
					hits[y.name] += p.runFailing(t, y, inStart)
				}
			})
		}
		p.finish(t)
	})
	t.Logf("operations that failed: %v", hits)
}

// pickCreation returns a random failure that occurs at a creation, or any failure if there
// is none.
func pickCreation(r *rand.Rand, all []failure) failure {
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, y := range all {
		if y.creation {
			return y
		}
	}
	return all[0]
}

// runFailing runs the daemon while operations fail, and returns the number of operations
// that failed.
func (p *powerTest) runFailing(t *testing.T, y failure, inStart bool) int {
	t.Helper()
	f := y.Fault
	f.Nth = 1 + p.rand.IntN(f.Nth)
	f.Count = []int{1, 1, 2, 5, 0}[p.rand.IntN(5)]
	f.Errno = []syscall.Errno{syscall.EIO, syscall.EIO, syscall.ENOSPC, syscall.EROFS}[p.rand.IntN(4)]
	f.Lost = f.Lost || p.maybe(5)

	inStart = inStart && !p.running()
	if !p.running() && !inStart {
		p.start(t)
		time.Sleep(p.wait(burst / 2))
	}
	i := p.fs.Inject(f)
	if inStart {
		p.d.Launch(t)
		p.load.Resume()
	}
	for began := time.Now(); i.Hits() == 0 && time.Since(began) < 2*burst; {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(p.wait(burst / 2))
	if p.maybe(2) {
		p.restart(t) // while operations fail
	}
	i.Clear()
	p.medium.revive(t, p)
	if p.maybe(2) {
		p.restart(t)
	}
	if p.maybe(8) {
		p.awaitAck(t)
		time.Sleep(p.wait(burst))
	}
	if p.maybe(2) {
		p.fs.Evict()
		time.Sleep(p.wait(burst / 2))
	}
	t.Logf("failure of %s: %v, first operation %d, count %d (0: until the end), data lost %v, at a start %v: %d operations failed",
		y.name, f.Errno, f.Nth, f.Count, f.Lost, inStart, i.Hits())
	return i.Hits()
}

// restart kills the daemon and starts it again.
func (p *powerTest) restart(t *testing.T) {
	t.Helper()
	p.d.Kill()
	time.Sleep(p.wait(burst / 10))
	p.d.Launch(t)
}
