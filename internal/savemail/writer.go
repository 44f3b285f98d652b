package savemail

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/mailinfo"
)

// reliefTime is how long a Save may last before another writer takes the place
// of its own, where Options allow it: a host that hangs holds one batch up, and
// not what comes behind.
const reliefTime = 2 * time.Second

// write is one writer: it takes what is queued and saves it, until the store
// is replaced, or the queue is empty at the drain, or another has taken its
// place.
func (c *Committer) write(g *generation) {
	var batch []pending // at most MaxRows entries, reused
	for {
		batch = c.take(g, batch[:0])
		if len(batch) == 0 {
			return
		}
		relieved := c.commit(g, batch)
		clear(batch)
		if relieved {
			return
		}
	}
}

// relieve puts a writer into the place of one whose Save lasts, and reports
// whether it did.
func (c *Committer) relieve(g *generation) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.slow == g.Reliefs {
		return false
	}
	g.slow++
	c.run(g, func() { c.write(g) })
	return true
}

// take waits for something to save. It appends nothing when the writer is to
// leave.
func (c *Committer) take(g *generation, batch []pending) []pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.due(g) && c.current == g && !c.draining {
		c.work.Wait()
	}
	if c.current != g {
		return batch
	}
	batch = c.queue.take(batch, g.MaxRows, g.MaxBytes)
	if len(batch) > 0 {
		g.saving++
	}
	c.waitForMore(g)
	return batch
}

// patience is how long mails wait for others while a Save runs, which takes less
// time by a database that is near and well.
const patience = 5 * time.Millisecond

// waitForMore bounds how long what is queued waits while a Save runs; c.mu is
// held.
func (c *Committer) waitForMore(g *generation) {
	if g.Enough > 1 && g.saving > 0 && c.queue.len() > 0 {
		c.hurry.Reset(time.Until(c.queue.first().at.Add(patience)))
	}
}

// due reports whether what is queued is worth a Save now; c.mu is held.
func (c *Committer) due(g *generation) bool {
	if c.queue.len() == 0 {
		return false
	}
	return g.saving == 0 || c.queue.len() >= g.Enough || c.queue.bytes >= g.MaxBytes ||
		time.Since(c.queue.first().at) >= patience
}

// hasten has a writer look whether something has become due.
func (c *Committer) hasten() {
	c.mu.Lock() // else the one that is about to wait would not hear of it
	defer c.mu.Unlock()
	c.work.Signal()
}

// commit gives every envelope of a batch its outcome, and reports whether
// another writer has taken its own's place meanwhile.
func (c *Committer) commit(g *generation, batch []pending) (relieved bool) {
	if c.ctx.Err() != nil {
		c.fail(batch, errStopping)
		return false
	}
	for _, p := range batch {
		p.envelope.Info = g.describe(p.envelope)
	}
	// The queue is in order of time: the first has waited longest.
	end := batch[0].at.Add(g.Timeout)
	ctx, cancel := context.WithDeadline(c.ctx, end)
	defer cancel()
	c.mu.Lock()
	c.saves[&end] = true
	c.mu.Unlock()
	relief := c.startRelief(g)
	c.save(ctx, g, batch)
	relieved = relief()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.saves, &end)
	g.saving--
	if relieved {
		g.slow--
	}
	return relieved
}

// startRelief has a writer relieved after reliefTime, until the function that
// it returns is called, which reports whether that has happened.
func (c *Committer) startRelief(g *generation) func() bool {
	if g.Reliefs == 0 {
		return func() bool { return false }
	}
	relieved := make(chan bool, 1)
	timer := time.AfterFunc(reliefTime, func() { relieved <- c.relieve(g) })
	return func() bool { return !timer.Stop() && <-relieved }
}

// describe reads a message. Should that panic, the mail is stored as one that
// says nothing of itself: one client's bytes must not cost the others theirs.
func (g *generation) describe(e *envelope.Envelope) (info mailinfo.Info) {
	defer func() {
		if r := recover(); r != nil {
			g.Log.Error("internal error, the mail is stored without subject and attachments",
				"session", e.Session, "hashes", appendHashes(nil, e), "error", fmt.Sprint(r), "stack", string(debug.Stack()))
			info = mailinfo.Parse(nil)
		}
	}()
	return mailinfo.Parse(e.Message())
}

// sweep fails what has waited for half of its time, since a Save must be able
// to count on the other half. That happens when a store hangs: every client
// gets an answer in time, not only those whose turn came.
func (c *Committer) sweep() {
	c.mu.Lock()
	g := c.current
	late := c.queue.takeBefore(time.Now().Add(-g.Timeout / 2))
	if c.sweeping = c.queue.len() > 0; c.sweeping {
		c.sweeper.Reset(time.Until(c.queue.first().at.Add(g.Timeout / 2)))
	}
	if len(late) > 0 {
		c.run(g, func() { // Drain waits for it
			err := fmt.Errorf("%w: no writer was free for %v", ErrUnavailable, g.Timeout/2)
			c.down(g, err)
			c.fail(late, err)
		})
	}
	c.mu.Unlock()
}

// save has the store save a batch and reports the outcomes. A batch that is
// rejected is halved until the guilty envelope stands alone. After a failure
// of another kind, which it returns, nothing more is tried.
func (c *Committer) save(ctx context.Context, g *generation, batch []pending) error {
	begun := time.Now()
	errs := g.call(ctx, batch)
	took := time.Since(begun)
	if len(batch) > 1 && allRejected(errs) {
		half := len(batch) / 2
		if err := c.save(ctx, g, batch[:half]); err != nil {
			c.fail(batch[half:], fmt.Errorf("%w: not tried after: %v", ErrUnavailable, err))
			return err
		}
		return c.save(ctx, g, batch[half:])
	}
	return c.report(g, batch, errs, took)
}

// call is Save, with an error for each envelope also from a store that does
// not keep to its contract: what was not said may have been committed.
func (g *generation) call(ctx context.Context, batch []pending) []error {
	envelopes := make([]*envelope.Envelope, len(batch))
	for i, p := range batch {
		envelopes[i] = p.envelope
	}
	errs := g.store.Save(ctx, envelopes)
	for len(errs) < len(batch) {
		errs = append(errs, fmt.Errorf("%w: the store gave no outcome", ErrUnknown))
	}
	return errs[:len(batch)]
}

func allRejected(errs []error) bool {
	for _, err := range errs {
		if kind(err) != ErrRejected {
			return false
		}
	}
	return true
}

// report logs and counts the outcomes of one Save, then hands them out. It
// returns an error that is the store's fault rather than a mail's, nil if
// there is none.
func (c *Committer) report(g *generation, batch []pending, errs []error, took time.Duration) error {
	var unavailable, unknown error
	var doubtful []string
	var n Counters
	for i, err := range errs {
		switch kind(err) {
		case nil:
			n.Batches = 1
			n.Mails++
			n.Rows += uint64(batch[i].rows())
			n.Bytes += uint64(batch[i].envelope.Size())
		case ErrRejected:
			n.Rejected++
			g.logRejected(batch[i].envelope, err)
		case ErrRefused:
			n.Refused++
		case ErrUnknown:
			n.Unknown++
			unknown = err
			doubtful = appendHashes(doubtful, batch[i].envelope)
		default:
			n.Unavailable++
			unavailable = err
		}
	}
	c.count(n)
	if n.Rows > 0 && g.Committed != nil {
		g.Committed(took, int(n.Rows))
	}
	switch {
	case unavailable != nil:
		c.down(g, unavailable)
	case unknown != nil:
		c.doubt(g, unknown)
	default:
		c.up(g)
	}
	if unknown != nil {
		g.Log.Warn("it is unknown whether these mails were stored: their senders are told to try again later",
			"error", unknown, "hashes", doubtful)
	}
	for i, p := range batch {
		p.done(errs[i])
	}
	return cmp.Or(unavailable, unknown)
}

// fail gives all of a batch the same outcome, which is ErrUnavailable.
func (c *Committer) fail(batch []pending, err error) {
	c.count(Counters{Unavailable: uint64(len(batch))})
	for _, p := range batch {
		p.done(err)
	}
}

func (c *Committer) count(n Counters) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counters.Batches += n.Batches
	c.counters.Mails += n.Mails
	c.counters.Rows += n.Rows
	c.counters.Bytes += n.Bytes
	c.counters.Unavailable += n.Unavailable
	c.counters.Rejected += n.Rejected
	c.counters.Refused += n.Refused
	c.counters.Unknown += n.Unknown
}

// logRejected tells the operator of a mail that only a change of the store
// will let in.
func (g *generation) logRejected(e *envelope.Envelope, err error) {
	g.Log.Error("the store rejects a mail: its sender is told to try again later, which helps once the reason is removed",
		"session", e.Session, "hashes", appendHashes(nil, e), "from", e.From, "size", e.Size(), "error", err)
}

func appendHashes(hashes []string, e *envelope.Envelope) []string {
	for _, to := range e.To {
		hashes = append(hashes, to.Hash)
	}
	return hashes
}
