package commit

import (
	"context"
	"errors"
	"time"

	"goguerrillad/internal/savemail"
)

// Messages come first: a piece of old messages is deleted at the moment when no message is
// queued or being saved, or at the latest after maxYield. The pause after a piece is a
// multiple of its duration: deleting takes half of the time of the store at most, and a tenth
// while messages arrive.
const (
	maxYield  = 100 * time.Millisecond
	idlePause = 1
	busyPause = 9
	// sweepInterval is the pause after all old messages are deleted, and after an error.
	sweepInterval = 15 * time.Second
)

// Retention is the state of the deletion of old messages.
type Retention struct {
	Keep    time.Duration // Options.Keep, 0 = messages are kept for ever
	Deleted uint64        // rows or files since New
	Oldest  time.Time     // date of the oldest message, zero if it is unknown or there is none
	Err     error         // of the last piece, nil if it succeeded
}

// retain deletes old messages until g is retired.
func (c *Committer) retain(g *generation, store savemail.Expirer) {
	saved := uint64(0) // batches before the last piece
	for pause := time.Duration(0); c.yield(g, pause); {
		began := time.Now()
		ctx, cancel := context.WithTimeout(g.ctx, g.Timeout)
		expired, err := store.Expire(ctx, began.Add(-g.Keep))
		cancel()
		if g.ctx.Err() != nil {
			err = nil // Expire was interrupted
		}
		c.recordRetention(g, expired, err)
		batches := c.Counters().Batches
		switch {
		case !expired.More || err != nil:
			pause = sweepInterval
		case batches == saved:
			pause = idlePause * time.Since(began)
		default:
			pause = busyPause * time.Since(began)
		}
		saved = batches
	}
}

// yield waits for the pause and then for messages in progress. It returns false if g is
// retired.
func (c *Committer) yield(g *generation, pause time.Duration) bool {
	select {
	case <-time.After(pause):
	case <-g.ctx.Done():
		return false
	}
	select {
	case <-g.idle: // it was idle during the pause
	default:
	}
	c.mu.Lock()
	busy := c.inProgress(g)
	c.mu.Unlock()
	if !busy {
		return true
	}
	select {
	case <-g.idle:
	case <-time.After(maxYield):
	case <-g.ctx.Done():
		return false
	}
	return true
}

// signalIdle tells yield that no message is queued or being saved.
func (g *generation) signalIdle() {
	select {
	case g.idle <- struct{}{}:
	default:
	}
}

// inProgress reports whether messages are queued or being saved; c.mu is held.
func (c *Committer) inProgress(g *generation) bool { return c.queue.len() > 0 || g.saving > 0 }

func (c *Committer) recordRetention(g *generation, e savemail.Expired, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.retention
	r.Deleted += uint64(e.Rows)
	if c.generations.current != g {
		return
	}
	logged := r.Err != nil && err != nil && r.Err.Error() == err.Error()
	if err != nil && !logged && !errors.Is(err, savemail.ErrUnavailable) { // the log has the outages
		g.Log.Warn("old messages cannot be deleted", "error", err)
	}
	r.Err = err
	if err == nil {
		r.Oldest = e.Oldest
	}
}

// Retention returns the state of the deletion of old messages.
func (c *Committer) Retention() Retention {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.retention
}
