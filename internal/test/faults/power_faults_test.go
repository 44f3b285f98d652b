package faults

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/test/powerfs"
)

// A failure is a kind of operation that fails.
type failure struct {
	name     string
	creation bool // the operation occurs when the daemon creates its file or directories
	powerfs.Fault
}

// powerFaults makes operations fail and then cuts the power, n times.
func powerFaults(t *testing.T, store string, n int, m func() medium) {
	r, l := newRand(t), &ledger{store: store}
	defer l.printPower(t)
	hits := make(map[string]int)
	var order []failure // refilled and shuffled when it is empty
	series(t, n, 3, func(t *testing.T, n int) {
		p := newPowerTest(t, m(), r, l)
		for i := range n {
			if len(order) == 0 {
				order = p.medium.failures()
				r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			}
			first := order[0]
			order = order[1:]
			atStart := r.IntN(4) == 0
			if i == 0 && r.IntN(2) == 0 {
				first, atStart = pickCreation(r, p.medium.failures()), true
			}
			sequence := []failure{first}
			for r.IntN(10) < 3 { // more failures before the power is cut
				all := p.medium.failures()
				sequence = append(sequence, all[r.IntN(len(all))])
			}
			name := first.name
			if len(sequence) > 1 {
				name = "several failures"
			}
			p.outage(t, name, func(t *testing.T, p *powerTest) {
				for _, next := range sequence {
					hits[next.name] += p.runFailing(t, next, atStart)
				}
			})
		}
		p.finish(t)
	})
	t.Logf("operations that failed: %v", hits)
}

// pickCreation returns a random failure of a creation, or any failure if the list has no
// failure of a creation.
func pickCreation(r *rand.Rand, all []failure) failure {
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, candidate := range all {
		if candidate.creation {
			return candidate
		}
	}
	return all[0]
}

// runFailing runs the daemon while operations fail, and returns the number of operations
// that failed.
func (p *powerTest) runFailing(t *testing.T, kind failure, atStart bool) int {
	t.Helper()
	f := kind.Fault
	f.Nth = 1 + p.rand.IntN(f.Nth)
	f.Count = []int{1, 1, 2, 5, 0}[p.rand.IntN(5)]
	f.Errno = []syscall.Errno{syscall.EIO, syscall.EIO, syscall.ENOSPC, syscall.EROFS}[p.rand.IntN(4)]
	f.Lost = f.Lost || p.maybe(5)

	atStart = atStart && !p.running()
	if !p.running() && !atStart {
		p.start(t)
		time.Sleep(p.wait(burst / 2))
	}
	i := p.fs.Inject(f)
	if atStart {
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
	p.medium.restartEnded(t, p)
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
		kind.name, f.Errno, f.Nth, f.Count, f.Lost, atStart, i.Hits())
	return i.Hits()
}

// restart kills the daemon and starts it again.
func (p *powerTest) restart(t *testing.T) {
	t.Helper()
	p.d.Kill()
	time.Sleep(p.wait(burst / 10))
	p.d.Launch(t)
}
