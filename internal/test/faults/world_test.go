package faults

import (
	"database/sql"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/load"
)

// A world is daemons with all that they stand on, and the mail that streams in
// while it breaks.
type world struct {
	whole   *testing.T // what a fault starts again serves the next one too
	rand    *rand.Rand
	daemons []*daemon.Daemon
	load    *load.Load
	db      *sql.DB                    // reads the table
	maildir string                     // in place of db
	other   func() map[string][]string // the same: what has arrived since it was asked last
	log     string                     // file that is emptied now and then, "" for none
	ledger  ledger
	// most is the longest recovery that is allowed, once the cause is over.
	most time.Duration
}

// A fault is something that befalls a world: ail begins it, mend ends its
// cause. Two faults of different subjects can befall it together.
type fault struct {
	name    string
	subject string
	ail     func(t *testing.T)
	hold    func() time.Duration // how long it lasts; nil: not at all
	mend    func(t *testing.T)   // nil: it is over by itself
	times   int                  // in the long form
	alone   bool                 // it waits for mail or the daemon, which another fault may stop
	silence time.Duration        // the longest that is allowed, 0 = any
}

// startLoad lets the mail stream in, to the end of the test.
func (w *world) startLoad(t *testing.T) {
	t.Helper()
	if w.most == 0 {
		w.most = 10 * time.Second
	}
	var addrs []string
	for _, d := range w.daemons {
		addrs = append(addrs, d.Addr)
	}
	w.load = load.Start(addrs...)
	t.Cleanup(w.load.Pause)
	w.load.AwaitAcks(t, 50)
}

// audit stops the mail for a moment and compares it with the table.
func (w *world) audit(t *testing.T) load.Audit {
	t.Helper()
	w.load.Pause()
	switch {
	case w.maildir != "":
		w.load.CollectMaildir(t, w.maildir)
	case w.other != nil:
		w.load.Add(w.other())
	default:
		w.load.Collect(t, w.db, "new_mail")
	}
	a := w.load.Audit()
	if w.maildir != "" {
		a.Partial = 0 // files have no transaction; of what is acknowledged, all are there
	}
	if wrong := a.Wrong(); wrong != "" {
		t.Errorf("%s\n%s", wrong, w.logs())
	}
	return a
}

// logs is the end of what the daemons have said, but for the mails that they
// took.
func (w *world) logs() string {
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

// befall has faults come, the first before the second, and go again, and takes
// note of what they did.
func (w *world) befall(t *testing.T, faults ...fault) {
	t.Helper()
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	name := strings.Join(names, ", and ")
	before := w.audit(t)
	if w.log != "" {
		if err := os.Truncate(w.log, 0); err != nil {
			t.Fatal(err)
		}
	}
	w.load.Resume()
	w.load.AwaitAcks(t, 20)
	time.Sleep(between(w.rand, 0, 20*time.Millisecond)) // anywhere in a batch
	w.load.Silence()
	for _, f := range faults {
		f.ail(t)
		if f.hold != nil {
			time.Sleep(f.hold()) // the fault's own length
		}
	}
	for i := len(faults) - 1; i >= 0; i-- {
		if faults[i].mend != nil {
			faults[i].mend(t)
		}
	}
	mended := time.Now()
	w.load.AwaitAcks(t, 1)
	recovery := time.Since(mended)
	w.load.AwaitAcks(t, 50)
	silence := w.load.Silence()
	after := w.audit(t)
	if len(faults) > 1 {
		name = "two at a time"
	}
	t.Logf("%s: %d acknowledged, %d 4xx, %d broken off, silence %v, recovery %v", strings.Join(names, ", and "),
		after.Acknowledged-before.Acknowledged, after.Temporary-before.Temporary, after.Broken-before.Broken,
		silence.Round(time.Millisecond), recovery.Round(time.Millisecond))
	w.ledger.of(name).add(before, after, silence, recovery)
	// In the short form other packages' tests run on the same processors, and
	// the figure is printed alone.
	if most := faults[0].silence; long() && most > 0 && silence > most && len(faults) == 1 {
		t.Errorf("%s: no mail was taken for %v, want at most %v\n%s", name, silence, most, w.logs())
	}
	if recovery > w.most {
		t.Errorf("%s: %v to recover, want at most %v\n%s", strings.Join(names, ", and "), recovery, w.most, w.logs())
	}
}

// run has each fault befall the world, alone, in a random order, and then in
// pairs. The long form has each many times.
func (w *world) run(t *testing.T, faults []fault) {
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
		w.befall(t, f)
		w.giveUpIfLost(t)
	}
	for range pairs {
		a, b := faults[w.rand.IntN(len(faults))], faults[w.rand.IntN(len(faults))]
		if a.subject == b.subject || b.alone {
			continue
		}
		w.befall(t, a, b)
		w.giveUpIfLost(t)
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

func (w *world) giveUpIfLost(t *testing.T) {
	t.Helper()
	if t.Failed() {
		w.ledger.print(t)
		t.FailNow()
	}
}
