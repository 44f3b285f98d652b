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
	// options returns the options of the file system, without Rand.
	options() powerfs.Options
	// begin starts the processes that the store needs, on an empty file system and after
	// each power loss.
	begin(t *testing.T, p *powerTest)
	// abandon cuts the power during a recovery.
	abandon(t *testing.T, p *powerTest)
	// end kills the processes that begin has started.
	end()
	// keys returns the configuration of the daemon.
	keys(p *powerTest) map[string]string
	// collect passes the stored messages to the load, before the daemon has started or
	// while it runs. It returns an error if the store is damaged.
	collect(t *testing.T, p *powerTest) error
	// restartEnded restarts a process that has ended without a power loss.
	restartEnded(t *testing.T, p *powerTest)
	// moments returns operations at which the power may be cut. Nth is the greatest number
	// of the operation.
	moments() []powerfs.Fault
	// failures returns operations that may fail. Nth is the greatest number of the first
	// operation that fails.
	failures() []failure
}

// A powerTest is a daemon whose store is on a file system that can lose its power. The file
// system is empty at first.
type powerTest struct {
	medium medium
	rand   *rand.Rand
	ledger *ledger

	fs   *powerfs.FS
	dir  string // on the file system, owned by the daemon's user
	d    *daemon.Daemon
	load *load.Load

	seen load.Audit // the last audit
	last *tally     // of the last power loss; nil after the first message that is accepted again
}

// maxRecovery is the longest time from the start of the daemon after a power loss to the
// first accepted message.
const maxRecovery = 30 * time.Second

// newPowerTest returns a powerTest on an empty file system, with a paused load.
func newPowerTest(t *testing.T, m medium, r *rand.Rand, l *ledger) *powerTest {
	t.Helper()
	p := &powerTest{medium: m, rand: r, ledger: l, d: shared.Daemon(t, nil)}
	o := m.options()
	o.Rand = r
	p.fs = powerfs.New(t, o)
	p.dir = filepath.Join(p.fs.Dir, "spool")
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p.d.Chown(t, p.dir)
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
func (p *powerTest) running() bool {
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

func (p *powerTest) kill() {
	if p.d.Process() != nil {
		p.d.Kill()
	}
}

// maybe returns true in n of 10 cases.
func (p *powerTest) maybe(n int) bool { return p.rand.IntN(10) < n }

// wait returns a random duration below limit.
func (p *powerTest) wait(limit time.Duration) time.Duration {
	return time.Duration(p.rand.Int64N(int64(limit)))
}

// burst is the base of the random times between the events of a test.
const burst = 250 * time.Millisecond

// start starts the daemon under load and waits for the first 250.
func (p *powerTest) start(t *testing.T) {
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
func (p *powerTest) awaitAck(t *testing.T) {
	t.Helper()
	before := p.load.Acks()
	for began := time.Now(); p.load.Acks() == before; time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > maxRecovery {
			t.Fatalf("no message accepted within %v\n%s", maxRecovery, p.log())
		}
		p.medium.restartEnded(t, p)
	}
}

// log returns the last 30 lines of the log, without the lines about single messages.
func (p *powerTest) log() string {
	var kept []string
	for line := range strings.Lines(p.d.Log()) {
		if !strings.Contains(line, `msg="message `) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept[max(0, len(kept)-30):], "")
}

// panicked is the exit status of a Go program after a panic.
const panicked = 2

// outage cuts the power after run returns, and audits the store.
func (p *powerTest) outage(t *testing.T, name string, run func(t *testing.T, p *powerTest)) {
	t.Helper()
	run(t, p)
	p.fs.Cut(p.mode())
	p.d.Kill()
	p.load.Pause()
	if code := p.d.Process().Cmd.ProcessState.ExitCode(); code == panicked {
		t.Errorf("%s: the daemon panicked\n%s", name, p.log())
	}
	p.medium.end()
	p.fs.ClearFaults()
	p.fs.Remount(t)
	if p.maybe(2) {
		p.medium.abandon(t, p)
	}
	p.medium.begin(t, p)
	p.last = p.ledger.of(name)
	p.last.times++
	p.audit(t, p.last)
}

// audit adds the outcomes to a tally. It ends the test unless each acknowledged message is
// stored once.
func (p *powerTest) audit(t *testing.T, entry *tally) {
	t.Helper()
	err := p.medium.collect(t, p)
	now := p.load.Audit()
	if p.d.Keys["GM_MAILDIR"] != "" {
		now.Partial = 0 // files have no transaction; Lost counts acknowledged messages without all files
	}
	if err != nil {
		entry.damaged++
		t.Errorf("%s: the store is damaged: %v", entry.name, err)
	}
	entry.add(p.seen, now, 0, 0)
	entry.times-- // outage counts the power loss
	p.seen = now
	if wrong := now.Violations(); wrong != "" {
		t.Errorf("%s: %s", entry.name, wrong)
	}
	if t.Failed() {
		t.Fatal(p.log())
	}
}

// finish starts the daemon, audits the store, and stops the daemon.
func (p *powerTest) finish(t *testing.T) {
	t.Helper()
	entry := p.last
	p.start(t)
	p.load.Pause()
	p.audit(t, entry) // after the daemon's recovery
	if code := p.d.Terminate(t); code != 0 {
		t.Errorf("exit status %d\n%s", code, p.log())
	}
	p.audit(t, entry)
}

// powerLoss cuts the power of a store n times, at most 10 times per file system.
func powerLoss(t *testing.T, store string, n int, m func() medium) {
	r, l := newRand(t), &ledger{store: store}
	defer l.printPower(t)
	series(t, n, 10, func(t *testing.T, n int) {
		p := newPowerTest(t, m(), r, l)
		for i := range n {
			s := scenarios[r.IntN(len(scenarios))]
			if i == 0 && r.IntN(2) == 0 {
				s = scenarios[1] // at a start, while the daemon creates the table
			}
			p.outage(t, s.name, s.run)
		}
		p.finish(t)
	})
}

// series runs subtests of at most n power losses until all are done or three subtests have
// failed.
func series(t *testing.T, all, n int, run func(t *testing.T, n int)) {
	t.Helper()
	began, failed, done := time.Now(), 0, 0
	for ; done < all && failed < 3; done += n {
		ok := t.Run(fmt.Sprint(done), func(t *testing.T) { run(t, min(n, all-done)) })
		if !ok {
			failed++
		}
	}
	t.Logf("%d of %d power losses in %v", min(done, all), all, time.Since(began).Round(time.Second))
}

// cuts returns the number of power losses of a test.
func cuts(short, whole int) int {
	if long() {
		return whole
	}
	return short
}
