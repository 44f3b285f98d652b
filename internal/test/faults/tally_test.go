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
	name                      string
	times                     int // how often the fault was applied
	acknowledged              int
	stored, unacknowledged    int
	temporary, broken         int
	lost, duplicates, refused int
	gap, recovery             time.Duration // the longest

	// Only for power losses.
	store    string
	damaged  int // audits that found the store damaged
	deferred int // messages that were stored although the reply was 4xx
}

// A ledger holds the tallies of a test, in the order in which the faults first occurred.
type ledger struct {
	store   string
	tallies []*tally
}

// of returns the tally of a fault, and creates it if it does not exist.
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
func (t *tally) add(before, after load.Audit, gap, recovery time.Duration) {
	t.times++
	t.acknowledged += after.Acknowledged - before.Acknowledged
	t.stored += after.Stored - before.Stored
	t.unacknowledged += after.Unacknowledged - before.Unacknowledged
	t.temporary += after.Temporary - before.Temporary
	t.broken += after.Broken - before.Broken
	t.lost += after.Lost - before.Lost
	t.duplicates += after.Duplicate - before.Duplicate
	t.deferred += after.Deferred - before.Deferred
	for code, n := range after.Refused {
		t.refused += n - before.Refused[code]
	}
	t.gap = max(t.gap, gap)
	t.recovery = max(t.recovery, recovery)
}

// print logs a table of the tallies.
func (l *ledger) print(t *testing.T) {
	t.Helper()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "fault\ttimes\tacknowledged\tstored\tlost\tduplicates\t5xx\t4xx\tconnections lost\tstored without 250\tlongest gap\tlongest recovery\t")
	for _, entry := range l.tallies {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%v\t%v\t\n", entry.name, entry.times, entry.acknowledged, entry.stored, entry.lost, entry.duplicates,
			entry.refused, entry.temporary, entry.broken, entry.unacknowledged, entry.gap.Round(10*time.Millisecond), entry.recovery.Round(10*time.Millisecond))
	}
	w.Flush()
	t.Logf("messages, each of one to three rows:\n%s", b.String())
}

// printPower logs a table of the power losses and their sum.
func (l *ledger) printPower(t *testing.T) {
	t.Helper()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "store\tfault\tcuts\tacknowledged\tlost\tduplicates\tstore intact\tstored after 4xx\tstored without 250\tlongest recovery\t")
	sum := tally{name: "all", store: l.store}
	row := func(entry *tally) {
		intact := "yes"
		if entry.damaged > 0 {
			intact = fmt.Sprintf("damaged %d times", entry.damaged)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%d\t%d\t%v\t\n", entry.store, entry.name, entry.times, entry.acknowledged, entry.lost, entry.duplicates,
			intact, entry.deferred, entry.unacknowledged, entry.recovery.Round(10*time.Millisecond))
	}
	for _, entry := range l.tallies {
		row(entry)
		sum.times += entry.times
		sum.acknowledged += entry.acknowledged
		sum.lost += entry.lost
		sum.duplicates += entry.duplicates
		sum.damaged += entry.damaged
		sum.deferred += entry.deferred
		sum.unacknowledged += entry.unacknowledged
		sum.recovery = max(sum.recovery, entry.recovery)
	}
	row(&sum)
	w.Flush()
	t.Logf("power losses:\n%s", b.String())
}
