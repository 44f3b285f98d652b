package smtpd

import "time"

// deadlines is a list of timers that all have the same timeout, in the order of
// their renewal, oldest first. A renewed timer moves to the end, and only the first
// timer can be due, so each operation takes constant time. A changed timeout applies
// to all timers immediately.
type deadlines struct {
	root timer // of a ring: root.next is the oldest timer, root.prev the newest
}

// timer is an entry of deadlines. Its zero value is in no list.
type timer struct {
	conn       *conn
	renewed    time.Duration // on the loop's clock
	prev, next *timer
}

func (d *deadlines) init() { d.root.next, d.root.prev = &d.root, &d.root }

// renew moves t from the list that it is in, if any, to the end of d.
func (d *deadlines) renew(t *timer, now time.Duration) {
	t.stop()
	t.renewed = now
	t.prev, t.next = d.root.prev, &d.root
	t.prev.next, t.next.prev = t, t
}

// stop removes t from the list that it is in, if any.
func (t *timer) stop() {
	if t.next == nil {
		return
	}
	t.prev.next, t.next.prev = t.next, t.prev
	t.prev, t.next = nil, nil
}

// due returns the oldest timer if its timeout has passed, else nil.
func (d *deadlines) due(now, timeout time.Duration) *timer {
	if t := d.root.next; t != &d.root && now-t.renewed >= timeout {
		return t
	}
	return nil
}

// wait returns the time until the oldest timer is due, at most limit.
func (d *deadlines) wait(now, timeout, limit time.Duration) time.Duration {
	if t := d.root.next; t != &d.root {
		return max(0, min(limit, t.renewed+timeout-now))
	}
	return limit
}
