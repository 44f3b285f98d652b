package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/load"
	"goguerrillad/internal/test/powerfs"
)

// A medium is a store on a file system that can lose its power.
type medium interface {
	// options are of the file system, without Rand.
	options() powerfs.Options
	// begin starts what the daemon needs, on an empty file system and after
	// each power loss. The directory is the daemon's.
	begin(t *testing.T, p *rig)
	// abandon begins after a power loss, and has its power cut meanwhile.
	abandon(t *testing.T, p *rig)
	// end kills what begin has started.
	end()
	// keys are the daemon's configuration.
	keys(p *rig) map[string]string
	// collect tells the load what is stored, before the daemon has started or
	// while it runs, and returns what is wrong with the store.
	collect(t *testing.T, p *rig) error
	// revive starts again what has ended without a power loss.
	revive(t *testing.T, p *rig)
	// moments are operations at which the power may be cut. Nth is the latest.
	moments() []powerfs.Fault
	// failures are operations that may fail. Nth is the latest.
	failures() []failure
}

// A rig is a daemon whose store lies on a file system that can lose its power,
// from an empty file system on.
type rig struct {
	medium medium
	rand   *rand.Rand
	ledger *ledger

	fs   *powerfs.FS
	dir  string // on the file system, the daemon's
	d    *daemon.Daemon
	load *load.Load

	seen load.Audit // the last one
	last *tally     // of the last power loss, until a message is accepted again
}

// recoveryMost is how long it may take until messages are accepted again after
// a power loss, from the start of the daemon on.
const recoveryMost = 30 * time.Second

// newRig prepares an empty file system.
func newRig(t *testing.T, m medium, r *rand.Rand, l *ledger) *rig {
	t.Helper()
	p := &rig{medium: m, rand: r, ledger: l, d: shared.Daemon(t, nil)}
	o := m.options()
	o.Rand = r
	p.fs = powerfs.New(t, o)
	p.dir = filepath.Join(p.fs.Dir, "spool")
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p.d.Own(t, p.dir)
	syncDir(t, p.fs.Dir)
	m.begin(t, p)
	t.Cleanup(m.end)
	p.d.Configure(t, map[string]string{"GSMTP_TIMEOUT": "20"})
	p.d.Configure(t, m.keys(p))
	p.load = load.Start(p.d.Addr)
	p.load.Pause()
	t.Cleanup(p.load.Pause)
	t.Cleanup(p.kill)
	return p
}

func syncDir(t *testing.T, dir string) {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
}

// running reports whether the daemon runs.
func (p *rig) running() bool {
	if p.d.Process() == nil {
		return false
	}
	select {
	case <-p.d.Process().Done():
		return false
	default:
		return true
	}
}

func (p *rig) kill() {
	if p.d.Process() != nil {
		p.d.Kill()
	}
}

// maybe is true in n of ten cases.
func (p *rig) maybe(n int) bool { return p.rand.IntN(10) < n }

// wait returns a random time.
func (p *rig) wait(most time.Duration) time.Duration {
	return time.Duration(p.rand.Int64N(int64(most)))
}

// burst is how long a load lasts before something happens.
const burst = 250 * time.Millisecond

// start starts the daemon under load and waits for the first 250.
func (p *rig) start(t *testing.T) {
	t.Helper()
	began := time.Now()
	p.d.Launch(t)
	p.load.Resume()
	p.awaitAck(t)
	recovery := time.Since(began)
	if p.last != nil {
		p.last.recovery = max(p.last.recovery, recovery)
		p.last = nil
	}
}

// awaitAck waits for one more 250.
func (p *rig) awaitAck(t *testing.T) {
	t.Helper()
	before := p.load.Acks()
	for began := time.Now(); p.load.Acks() == before; time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > recoveryMost {
			t.Fatalf("no message is accepted within %v\n%s", recoveryMost, p.log())
		}
		p.medium.revive(t, p)
	}
}

// log is the end of what the daemon has logged, but for single messages.
func (p *rig) log() string {
	var kept []string
	for line := range strings.Lines(p.d.Log()) {
		if !strings.Contains(line, `msg="message `) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept[max(0, len(kept)-30):], "")
}

// panicked is the exit status of a Go program that panics.
const panicked = 2

// outage cuts the power after live, and compares what is left with what was
// acknowledged.
func (p *rig) outage(t *testing.T, name string, live func(t *testing.T, p *rig)) {
	t.Helper()
	live(t, p)
	p.fs.Cut(p.mode())
	p.d.Kill()
	p.load.Pause()
	if code := p.d.Process().Cmd.ProcessState.ExitCode(); code == panicked {
		t.Errorf("%s: the daemon has crashed\n%s", name, p.log())
	}
	p.medium.end()
	p.fs.Heal()
	p.fs.Remount(t)
	if p.maybe(2) {
		p.medium.abandon(t, p)
	}
	p.medium.begin(t, p)
	p.last = p.ledger.of(name)
	p.last.times++
	p.audit(t, p.last)
}

// audit fails the test, and ends this file system's part of it, unless each
// acknowledged message is there once.
func (p *rig) audit(t *testing.T, y *tally) {
	t.Helper()
	err := p.medium.collect(t, p)
	now := p.load.Audit()
	if p.d.Keys["GM_MAILDIR"] != "" {
		now.Partial = 0 // files have no transaction; of what is acknowledged, all are there
	}
	if err != nil {
		y.damaged++
		t.Errorf("%s: the store is damaged: %v", y.name, err)
	}
	y.add(p.seen, now, 0, 0)
	y.times--
	p.seen = now
	if wrong := now.Wrong(); wrong != "" {
		t.Errorf("%s: %s", y.name, wrong)
	}
	if t.Failed() {
		t.Fatal(p.log())
	}
}

// finish starts the daemon a last time and stops it.
func (p *rig) finish(t *testing.T) {
	t.Helper()
	y := p.last
	p.start(t)
	p.load.Pause()
	p.audit(t, y) // what the daemon has recovered
	if code := p.d.Terminate(t); code != 0 {
		t.Errorf("exit status %d\n%s", code, p.log())
	}
	p.audit(t, y)
}

// powerLoss has a store lose its power n times, ten times a file system.
func powerLoss(t *testing.T, store string, n int, m func() medium) {
	r, l := newRand(t), &ledger{store: store}
	defer l.printPower(t)
	series(t, n, 10, func(t *testing.T, n int) {
		p := newRig(t, m(), r, l)
		for i := range n {
			o := occasions[r.IntN(len(occasions))]
			if i == 0 && r.IntN(2) == 0 {
				o = occasions[1] // the table is being made
			}
			p.outage(t, o.name, o.live)
		}
		p.finish(t)
	})
}

// series runs parts of n cuts until there are all. It ends after three failures.
func series(t *testing.T, all, n int, part func(t *testing.T, n int)) {
	t.Helper()
	began, failed, done := time.Now(), 0, 0
	for ; done < all && failed < 3; done += n {
		ok := t.Run(fmt.Sprint(done), func(t *testing.T) { part(t, min(n, all-done)) })
		if !ok {
			failed++
		}
	}
	t.Logf("%d of %d power losses in %v", min(done, all), all, time.Since(began).Round(time.Second))
}

// cuts is how many power losses a test has.
func cuts(short, whole int) int {
	if long() {
		return whole
	}
	return short
}
