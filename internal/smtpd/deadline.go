package smtpd

import "time"

// deadlines is a timer for any number of connections that all have the same
// time: a list in order of renewal, oldest first. Renewing moves an entry to
// the end, and only the head can be due, so both cost the same however many
// there are; a changed timeout needs nothing but to be used.
type deadlines struct {
	root timer // of a ring: root.next is the oldest, root.prev the newest
}

// timer is an entry of deadlines; its zero value is in no list.
type timer struct {
	conn       *conn
	renewed    time.Duration // on the loop's clock
	prev, next *timer
}

func (d *deadlines) init() { d.root.next, d.root.prev = &d.root, &d.root }

// renew puts t at the end, from wherever it was.
func (d *deadlines) renew(t *timer, now time.Duration) {
	t.stop()
	t.renewed = now
	t.prev, t.next = d.root.prev, &d.root
	t.prev.next, t.next.prev = t, t
}

// stop takes t out of the list it is in, if it is in one.
func (t *timer) stop() {
	if t.next == nil {
		return
	}
	t.prev.next, t.next.prev = t.next, t.prev
	t.prev, t.next = nil, nil
}

// due returns the oldest timer if its time is over, else nil.
func (d *deadlines) due(now, timeout time.Duration) *timer {
	if t := d.root.next; t != &d.root && now-t.renewed >= timeout {
		return t
	}
	return nil
}

// wait returns how long the oldest timer has still to run, or limit if that is
// shorter or there is none.
func (d *deadlines) wait(now, timeout, limit time.Duration) time.Duration {
	if t := d.root.next; t != &d.root {
		return max(0, min(limit, t.renewed+timeout-now))
	}
	return limit
}
