package commit

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/savemail"
)

// slowSave is how long a Save may take before an extra writer replaces its writer,
// if Options.ExtraWriters allows it. A host that hangs then delays one batch only.
const slowSave = 2 * time.Second

// batchWait is how long a message waits for MinBatch messages while a Save runs. A
// Save to a healthy database on the same network takes less time.
const batchWait = 5 * time.Millisecond

// write is one writer. It saves batches until the store is replaced, the queue is
// empty at the drain, or an extra writer has replaced this writer.
func (c *Committer) write(g *generation) {
	var batch []pending // at most MaxRows entries, reused
	for {
		batch = c.nextBatch(g, batch[:0])
		if len(batch) == 0 {
			return
		}
		replaced := false
		if err := c.checkSpace(g); err != nil {
			c.refuseFull(g, batch, err)
		} else {
			replaced = c.commit(g, batch)
		}
		clear(batch)
		if replaced {
			return
		}
	}
}

// nextBatch waits for messages and appends them to batch. It appends nothing if
// the writer should end.
func (c *Committer) nextBatch(g *generation, batch []pending) []pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.ready(g) && c.generations.current == g && !c.generations.draining {
		if !c.inProgress(g) {
			g.signalIdle()
		}
		c.work.Wait()
	}
	if c.generations.current != g {
		return batch
	}
	batch = c.queue.popBatch(batch, g.MaxRows, g.MaxBytes)
	if len(batch) > 0 {
		g.saving++
	}
	c.startBatchTimer(g)
	return batch
}

// ready reports whether a Save should start now; c.mu is held.
func (c *Committer) ready(g *generation) bool {
	if c.queue.len() == 0 {
		return false
	}
	return g.saving == 0 || c.queue.len() >= g.MinBatch || c.queue.bytes >= g.MaxBytes ||
		time.Since(c.queue.first().at) >= batchWait
}

// startBatchTimer starts the timer that wakes a writer when the first message has
// waited for batchWait; c.mu is held.
func (c *Committer) startBatchTimer(g *generation) {
	if g.MinBatch > 1 && g.saving > 0 && c.queue.len() > 0 {
		c.batchTimer.Reset(time.Until(c.queue.first().at.Add(batchWait)))
	}
}

// wakeWriter makes a writer check again whether a Save should start.
func (c *Committer) wakeWriter() {
	c.mu.Lock() // otherwise a writer that is about to wait would miss the signal
	defer c.mu.Unlock()
	c.work.Signal()
}

// commit saves a batch, reports the outcomes, and reports whether an extra
// writer has replaced this one while it was saving.
func (c *Committer) commit(g *generation, batch []pending) (replaced bool) {
	if c.ctx.Err() != nil {
		c.fail(batch, errStopping)
		return false
	}
	for _, p := range batch {
		if p.retry.since.IsZero() {
			p.envelope.Info = g.describe(p.envelope)
		}
	}
	// The queue is in order of submission, so the first message has waited longest.
	end := batch[0].at.Add(g.Timeout)
	ctx, cancel := context.WithDeadline(c.ctx, end)
	defer cancel()
	c.mu.Lock()
	c.saves[&end] = struct{}{}
	c.mu.Unlock()
	stop := c.replaceIfSlow(g)
	c.save(ctx, g, batch)
	replaced = stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.saves, &end)
	g.saving--
	if replaced {
		g.replaced--
	}
	return replaced
}

// replaceIfSlow starts an extra writer after slowSave, unless stop is called before.
// stop reports whether an extra writer was started.
func (c *Committer) replaceIfSlow(g *generation) (stop func() bool) {
	if g.ExtraWriters == 0 {
		return func() bool { return false }
	}
	replaced := make(chan bool, 1)
	timer := time.AfterFunc(slowSave, func() { replaced <- c.startExtraWriter(g) })
	return func() bool { return !timer.Stop() && <-replaced }
}

// startExtraWriter starts an extra writer and reports whether Options.ExtraWriters
// allowed it.
func (c *Committer) startExtraWriter(g *generation) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.replaced == g.ExtraWriters {
		return false
	}
	g.replaced++
	c.run(g, func() { c.write(g) })
	return true
}

// describe parses a message. If the parser panics, the message is stored without
// subject and attachments, so that one client's bytes do not cost other clients
// their messages.
func (g *generation) describe(e *envelope.Envelope) (info mailinfo.Info) {
	defer func() {
		if r := recover(); r != nil {
			g.Log.Error("internal error in the parser, storing the message without subject and attachments",
				"session", e.Session, "hashes", hashes(e), "error", fmt.Sprint(r), "stack", string(debug.Stack()))
			info = mailinfo.Parse(nil)
		}
	}()
	return mailinfo.Parse(e.Message())
}

// expire fails the envelopes that have waited for half of the timeout, since a Save
// needs the other half. So clients receive replies in time when the store hangs.
func (c *Committer) expire() {
	c.mu.Lock()
	g := c.generations.current
	late := c.queue.popBefore(time.Now().Add(-g.Timeout / 2))
	if c.expiring = c.queue.len() > 0; c.expiring {
		c.expiryTimer.Reset(time.Until(c.queue.first().at.Add(g.Timeout / 2)))
	}
	if len(late) > 0 {
		c.run(g, func() { // Drain waits for this goroutine
			err := fmt.Errorf("%w: no writer was free for %v", savemail.ErrUnavailable, g.Timeout/2)
			c.down(g, err, time.Now())
			c.fail(late, err)
		})
	}
	c.mu.Unlock()
}
