package recipient

import (
	"errors"
	"time"
)

const (
	patience  = 10 * time.Second // how long an outage lasts before clients receive 451
	minPause  = 100 * time.Millisecond
	maxPause  = time.Second // between two queries for a recipient that waits
	quietTime = time.Minute // between the log messages about two outages
)

// An outage is the time in which queries fail. The zero value means that the last query
// succeeded. Directory.mu guards it.
type outage struct {
	since    time.Time // beginning of the first query that failed
	waiting  bool      // logged that recipients wait
	refusing bool      // logged that clients receive 451
	last     time.Time // when an outage was last logged
}

// end ends the outage and reports whether it was logged.
func (o *outage) end() (logged bool) {
	logged = o.waiting || o.refusing
	*o = outage{last: o.last}
	return logged
}

// record counts a query of a lookup that began at a time, and reports whether the query
// should be run again: it has failed, and the outage and the lookup are shorter than
// patience. It logs an outage unless it has logged another one less than quietTime ago.
func (d *Directory) record(g *generation, began time.Time, err error) (again bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.Queries++
	if err != nil {
		d.stats.Failed++
	}
	if g != d.current {
		return err != nil
	}
	o, now := &d.outage, time.Now()
	if (err == nil) != (d.stats.Failing == nil) {
		defer d.changed()
	}
	d.stats.Failing = err
	if err == nil {
		if o.end() {
			d.log.Info("GM_RECIPIENT_QUERY succeeded again")
		}
		return false
	}
	if o.since.IsZero() {
		o.since = began
	}
	again = now.Sub(o.since) < patience && now.Sub(began) < patience && !errors.Is(err, ErrInvalid)
	quiet := !o.waiting && !o.refusing && now.Sub(o.last) < quietTime && !o.last.IsZero()
	switch {
	case quiet:
	case again && !o.waiting:
		o.waiting, o.last = true, now
		d.log.Warn("GM_RECIPIENT_QUERY failed, recipients wait", "reason", err)
	case !again && !o.refusing:
		o.refusing, o.last = true, now
		d.log.Error("GM_RECIPIENT_QUERY failed, replying 451", "reason", err)
	}
	return again
}
