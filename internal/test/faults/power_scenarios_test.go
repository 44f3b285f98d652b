package faults

import (
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/test/powerfs"
)

// mode returns a random mode of the next power loss.
func (p *powerTest) mode() powerfs.Mode { return powerfs.Mode(p.rand.IntN(2)) }

// scenarios are the moments at which the power is cut.
var scenarios = []struct {
	name string
	run  func(t *testing.T, p *powerTest) // from the start of the daemon to the power loss
}{
	{"under load", func(t *testing.T, p *powerTest) {
		p.start(t)
		time.Sleep(p.wait(burst))
	}},
	{"at a start", func(t *testing.T, p *powerTest) {
		p.d.Launch(t)
		p.load.Resume()
		time.Sleep(p.wait(burst))
	}},
	{"at a reload", func(t *testing.T, p *powerTest) {
		p.start(t)
		time.Sleep(p.wait(burst / 4))
		p.signal(t, syscall.SIGHUP)
		time.Sleep(p.wait(burst / 4))
	}},
	{"at a stop", func(t *testing.T, p *powerTest) {
		p.start(t)
		time.Sleep(p.wait(burst))
		p.signal(t, syscall.SIGTERM)
		time.Sleep(p.wait(burst / 4))
	}},
	{"after SIGKILL and a start", func(t *testing.T, p *powerTest) {
		p.start(t)
		time.Sleep(p.wait(burst))
		p.d.Kill()
		p.load.Pause()
		p.d.Launch(t)
		p.load.Resume()
		time.Sleep(p.wait(burst))
	}},
	{"at an operation", func(t *testing.T, p *powerTest) {
		moments := p.medium.moments()
		m := moments[p.rand.IntN(len(moments))]
		m.Nth = 1 + p.rand.IntN(m.Nth)
		p.fs.CutAt(m, p.mode())
		p.d.Launch(t)
		p.load.Resume()
		select {
		case <-p.fs.Lost():
		case <-time.After(2 * burst):
		}
	}},
}

func (p *powerTest) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.d.Process().Signal(s); err != nil {
		t.Fatal(err)
	}
}
