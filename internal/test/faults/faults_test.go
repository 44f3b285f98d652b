package faults

import (
	"cmp"
	"database/sql"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/load"
)

// A faultTest sends messages to daemons while faults are applied, and audits the store
// after each fault.
type faultTest struct {
	parent  *testing.T // owns the processes, which outlive the fault that restarts them
	rand    *rand.Rand
	daemons []*daemon.Daemon
	load    *load.Load
	db      *sql.DB                    // reads the table
	maildir string                     // the path of the Maildir, instead of db
	take    func() map[string][]string // returns the messages since the last call, instead of db
	log     string                     // path of a log that is truncated before each fault, or ""
	ledger  ledger

	// maxRecovery is the longest time from the end of a fault to the next accepted
	// message; 0 = 10 s.
	maxRecovery time.Duration
}

// A fault is a failure of a part of the system. Two faults of different subjects can be
// applied together.
type fault struct {
	name      string
	subject   string
	start     func(t *testing.T)
	duration  func() time.Duration // from the end of start to the start of end; nil: none
	end       func(t *testing.T)   // nil: the fault ends automatically
	times     int                  // in the long form
	exclusive bool                 // start waits for messages or the daemon, so no other fault may be active
	maxGap    time.Duration        // the longest time without an accepted message, 0 = no limit
}

// startLoad starts the load, which runs until the end of the test.
func (w *faultTest) startLoad(t *testing.T) {
	t.Helper()
	var addrs []string
	for _, d := range w.daemons {
		addrs = append(addrs, d.Addr)
	}
	w.load = load.Start(addrs...)
	t.Cleanup(w.load.Pause)
	w.load.AwaitAcks(t, 50)
}

// audit pauses the load and compares its messages with the stored messages.
func (w *faultTest) audit(t *testing.T) load.Audit {
	t.Helper()
	w.load.Pause()
	switch {
	case w.maildir != "":
		w.load.CollectMaildir(t, w.maildir)
	case w.take != nil:
		w.load.Add(w.take())
	default:
		w.load.Collect(t, w.db, "new_mail")
	}
	a := w.load.Audit()
	if w.maildir != "" {
		a.Partial = 0 // files have no transaction; Lost counts acknowledged messages without all files
	}
	if wrong := a.Violations(); wrong != "" {
		t.Errorf("%s\n%s", wrong, w.logs())
	}
	return a
}

// logs returns the last 100 lines of each daemon's log, without accepted messages.
func (w *faultTest) logs() string {
	var b strings.Builder
	for _, d := range w.daemons {
		var kept []string
		for line := range strings.Lines(d.Log()) {
			if !strings.Contains(line, "message accepted") {
				kept = append(kept, line)
			}
		}
		b.WriteString(strings.Join(kept[max(0, len(kept)-100):], ""))
	}
	return b.String()
}

// apply starts the faults in order, ends them in reverse order, and adds the outcomes to
// the ledger.
func (w *faultTest) apply(t *testing.T, faults ...fault) {
	t.Helper()
	name := faults[0].name
	for _, f := range faults[1:] {
		name += ", and " + f.name
	}
	before := w.audit(t)
	if w.log != "" {
		if err := os.Truncate(w.log, 0); err != nil {
			t.Fatal(err)
		}
	}
	w.load.Resume()
	w.load.AwaitAcks(t, 20)
	time.Sleep(between(w.rand, 0, 20*time.Millisecond)) // so that the fault starts at a random moment of a batch
	w.load.LongestGap()                                 // resets it
	for _, f := range faults {
		f.start(t)
		if f.duration != nil {
			time.Sleep(f.duration())
		}
	}
	for i := len(faults) - 1; i >= 0; i-- {
		if faults[i].end != nil {
			faults[i].end(t)
		}
	}
	ended := time.Now()
	w.load.AwaitAcks(t, 1)
	recovery := time.Since(ended)
	w.load.AwaitAcks(t, 50)
	gap := w.load.LongestGap()
	after := w.audit(t)
	t.Logf("%s: %d acknowledged, %d 4xx, %d connections lost, longest gap %v, recovery %v", name,
		after.Acknowledged-before.Acknowledged, after.Temporary-before.Temporary, after.Broken-before.Broken,
		gap.Round(time.Millisecond), recovery.Round(time.Millisecond))
	row := name
	if len(faults) > 1 {
		row = "two faults together"
	}
	w.ledger.of(row).add(before, after, gap, recovery)
	// In the short form the tests of other packages use the same CPUs, so the gap is only
	// logged.
	if limit := faults[0].maxGap; long() && limit > 0 && gap > limit && len(faults) == 1 {
		t.Errorf("%s: no message accepted for %v, want at most %v\n%s", name, gap, limit, w.logs())
	}
	if most := cmp.Or(w.maxRecovery, 10*time.Second); recovery > most {
		t.Errorf("%s: recovery took %v, want at most %v\n%s", name, recovery, most, w.logs())
	}
}

// run applies all faults in a random order, then random pairs of faults. The long form
// applies each fault several times.
func (w *faultTest) run(t *testing.T, faults []fault) {
	t.Helper()
	var sequence []fault
	pairs := 3
	for _, f := range faults {
		times := 1
		if long() {
			times = max(f.times, 1)
			pairs += 5
		}
		for range times {
			sequence = append(sequence, f)
		}
	}
	w.rand.Shuffle(len(sequence), func(i, j int) { sequence[i], sequence[j] = sequence[j], sequence[i] })
	for _, f := range sequence {
		w.apply(t, f)
		w.stopIfFailed(t)
	}
	for range pairs {
		a, b := faults[w.rand.IntN(len(faults))], faults[w.rand.IntN(len(faults))]
		if a.subject == b.subject || b.exclusive {
			continue
		}
		w.apply(t, a, b)
		w.stopIfFailed(t)
	}
	w.load.Resume()
	w.load.AwaitAcks(t, 50)
	w.load.Pause()
	for _, d := range w.daemons {
		if code := d.Terminate(t); code != 0 {
			t.Errorf("exit status %d\n%s", code, w.logs())
		}
	}
	w.audit(t)
	w.ledger.print(t)
}

// stopIfFailed ends a failed test, since the next faults would fail too.
func (w *faultTest) stopIfFailed(t *testing.T) {
	t.Helper()
	if t.Failed() {
		w.ledger.print(t)
		t.FailNow()
	}
}
