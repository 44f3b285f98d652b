package faults

import (
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"goguerrillad/internal/test/load"
)

// A tally counts the outcomes of one fault.
type tally struct {
	name                   string
	times                  int // how often the fault was applied
	acknowledged           int
	stored, unasked        int
	temporary, broken      int
	lost, doubled, refused int
	silence, recovery      time.Duration // the longest

	// Only for power losses.
	store    string
	damaged  int // audits that found the store damaged
	deferred int // messages that were stored although the reply was 4xx
}

// A ledger holds the tallies of a test, in the order of their first fault.
type ledger struct {
	store   string
	tallies []*tally
}

func (l *ledger) of(name string) *tally {
	for _, t := range l.tallies {
		if t.name == name && t.store == l.store {
			return t
		}
	}
	t := &tally{name: name, store: l.store}
	l.tallies = append(l.tallies, t)
	return t
}

// add adds the difference between two audits.
func (t *tally) add(before, after load.Audit, silence, recovery time.Duration) {
	t.times++
	t.acknowledged += after.Acknowledged - before.Acknowledged
	t.stored += after.Stored - before.Stored
	t.unasked += after.Unacknowledged - before.Unacknowledged
	t.temporary += after.Temporary - before.Temporary
	t.broken += after.Broken - before.Broken
	t.lost += after.Lost - before.Lost
	t.doubled += after.Duplicate - before.Duplicate
	t.deferred += after.Deferred - before.Deferred
	for _, n := range after.Refused {
		t.refused += n
	}
	t.silence = max(t.silence, silence)
	t.recovery = max(t.recovery, recovery)
}

// print logs the table.
func (l *ledger) print(t *testing.T) {
	t.Helper()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "fault\ttimes\tacknowledged\tstored\tlost\tdoubled\t5xx\t4xx\tconnections lost\tstored without 250\tlongest silence\tlongest recovery\t")
	for _, y := range l.tallies {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%v\t%v\t\n", y.name, y.times, y.acknowledged, y.stored, y.lost, y.doubled,
			y.refused, y.temporary, y.broken, y.unasked, y.silence.Round(10*time.Millisecond), y.recovery.Round(10*time.Millisecond))
	}
	w.Flush()
	t.Logf("messages, each of one to three rows:\n%s", b.String())
}

// printPower logs the table of power losses.
func (l *ledger) printPower(t *testing.T) {
	t.Helper()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "store\tfault\tcuts\tacknowledged\tlost\tdoubled\tstore intact\tstored after 4xx\tstored without 250\tlongest recovery\t")
	sum := tally{name: "all", store: l.store}
	row := func(y *tally) {
		intact := "yes"
		if y.damaged > 0 {
			intact = fmt.Sprintf("damaged %d times", y.damaged)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%d\t%d\t%v\t\n", y.store, y.name, y.times, y.acknowledged, y.lost, y.doubled,
			intact, y.deferred, y.unasked, y.recovery.Round(10*time.Millisecond))
	}
	for _, y := range l.tallies {
		row(y)
		sum.times += y.times
		sum.acknowledged += y.acknowledged
		sum.lost += y.lost
		sum.doubled += y.doubled
		sum.damaged += y.damaged
		sum.deferred += y.deferred
		sum.unasked += y.unasked
		sum.recovery = max(sum.recovery, y.recovery)
	}
	row(&sum)
	w.Flush()
	t.Logf("power losses:\n%s", b.String())
}
