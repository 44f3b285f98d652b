package commit

import (
	"slices"
	"time"
)

// A message whose Save failed with ErrUnavailable is not stored, so it may be saved again.
// While an outage is short, it waits outside the queue and is saved again after a pause,
// instead of being reported. No writer waits, so that a message that fails alone, on a nearly
// full disk for example, does not delay others.

// patience is how long an outage lasts before clients receive 451.
const patience = 10 * time.Second

// The pause before the next Save of a message doubles from minPause to maxPause.
const (
	minPause = 100 * time.Millisecond
	maxPause = time.Second
)

// retry is the state of a message whose Save has failed. The zero value means that no Save
// has failed.
type retry struct {
	since   time.Time     // beginning of the first Save that failed
	next    time.Time     // of the next Save
	pause   time.Duration // before the next Save
	batches uint64        // Counters.Batches at the last failure
	batch   int           // maximum number of messages in the next batch, 0 = no maximum
}

// patience returns how long an outage lasts before clients receive 451. The messages then
// still have half of the timeout for a Save.
func (g *generation) patience() time.Duration { return min(patience, g.Timeout/2) }

// postpone retains the messages of a failed Save that may wait for the end of the outage, and
// passes the errors of the others to their submitters. began is the beginning of the Save.
func (c *Committer) postpone(batch []pending, began time.Time) {
	c.mu.Lock()
	var failed []pending
	for _, p := range batch {
		if !c.wait(p, len(batch), began) {
			failed = append(failed, p)
		}
	}
	c.counters.Unavailable += uint64(len(failed))
	c.startRetryTimer()
	c.mu.Unlock()
	for _, p := range failed {
		p.done(p.err)
	}
}

// wait retains a message and reports whether it may wait. A message may wait while the
// outage, and the time since its own first failure, are shorter than patience. size is the
// number of messages in the failed batch. c.mu is held.
func (c *Committer) wait(p pending, size int, began time.Time) bool {
	now, r, g := time.Now(), &p.retry, c.generations.current
	if r.since.IsZero() {
		r.since = began
	} else if r.batches != c.counters.Batches {
		// Other messages were stored meanwhile: a message of this batch may be the cause.
		r.batch = max(size/2, 1)
	}
	end := r.since
	if !c.health.up && c.health.since.Before(end) {
		end = c.health.since
	}
	end = end.Add(g.patience())
	if c.generations.draining || !now.Before(end) || !now.Before(p.at.Add(g.Timeout/2)) {
		return false
	}
	r.batches = c.counters.Batches
	r.pause = min(max(2*r.pause, minPause), maxPause)
	r.next = now.Add(r.pause)
	if r.next.After(end) {
		r.next = end
	}
	c.waiting = append(c.waiting, p)
	return true
}

// failAlone reports whether the messages of a failed Save have failed before, and others were
// stored since. The store then works, and the cause is one of the messages.
func (c *Committer) failAlone(failed []pending) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !slices.ContainsFunc(failed, func(p pending) bool {
		return p.retry.since.IsZero() || p.retry.batches == c.counters.Batches
	})
}

// startRetryTimer makes requeueDue run when the first waiting message is due. c.mu is held.
func (c *Committer) startRetryTimer() {
	if len(c.waiting) == 0 {
		return
	}
	next := c.waiting[0].retry.next
	for _, p := range c.waiting[1:] {
		if p.retry.next.Before(next) {
			next = p.retry.next
		}
	}
	c.retryTimer.Reset(time.Until(next))
}

// requeueDue queues the waiting messages that are due.
func (c *Committer) requeueDue() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requeue(time.Now())
	c.startRetryTimer()
}

// requeue queues the waiting messages whose next Save is due at t. c.mu is held.
func (c *Committer) requeue(t time.Time) {
	var due []pending
	n := 0
	for _, p := range c.waiting {
		if p.retry.next.After(t) {
			c.waiting[n] = p
			n++
		} else {
			due = append(due, p)
		}
	}
	clear(c.waiting[n:])
	c.waiting = c.waiting[:n]
	if len(due) == 0 {
		return
	}
	c.queue.pushAgain(due)
	c.queued()
	c.work.Broadcast()
}

// requeueAll queues all waiting messages. c.mu is held.
func (c *Committer) requeueAll() { c.requeue(time.Now().Add(patience)) }
