package commit

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"goguerrillad/internal/savemail"
)

// checkInterval is the pause between two Checks of a store that is down.
const checkInterval = time.Second

// quietTime ends an outage that no Check detects, for example a full disk: the store
// counts as up when no Save has failed for this time. A successful Save ends every
// outage immediately.
const quietTime = time.Minute

// Health is the state of the current store.
type Health struct {
	Up    bool      // the store accepts messages
	Since time.Time // when Up changed last
	Last  error     // last error of the store, nil if there was none
}

// health is the state of the current store. Committer.mu guards it.
type health struct {
	up     bool
	since  time.Time
	last   error     // nil if no Save or Check has failed
	failed time.Time // of the last failed Save or Check
}

// markUp records that the store is up.
func (h *health) markUp(log *slog.Logger) {
	if h.up {
		return
	}
	now := time.Now()
	log.Info("store available again", "after", now.Sub(h.since).Round(time.Millisecond))
	h.up, h.since = true, now
}

// markDown records a failure and reports whether the store was up before.
func (h *health) markDown(log *slog.Logger, err error) bool {
	h.last, h.failed = err, time.Now()
	if !h.up {
		return false
	}
	h.up, h.since = false, h.failed
	reason := strings.TrimPrefix(err.Error(), savemail.ErrUnavailable.Error()+": ")
	log.Error("store unavailable, replying 451", "reason", reason)
	return true
}

// up records a successful Save.
func (c *Committer) up(g *generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generations.current == g {
		c.health.markUp(g.Log)
	}
}

// down records a failed Save or Check. It ignores the failures of a replaced store
// and of Saves that Drain has canceled.
func (c *Committer) down(g *generation, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generations.current != g || c.ctx.Err() != nil {
		return
	}
	if c.health.markDown(g.Log, err) {
		g.requestCheck()
	}
}

// uncertain records an error that does not show whether the store is up. The
// next Check or Save will show it.
func (c *Committer) uncertain(g *generation, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generations.current == g {
		c.health.last = err
		g.requestCheck()
	}
}

// requestCheck makes the watcher check the store.
func (g *generation) requestCheck() {
	select {
	case g.checkNow <- struct{}{}:
	default:
	}
}

// watch checks the store at the start and while it is down. A successful Check is
// conclusive, that is, it ends the outage, if a Check has failed during the outage,
// or if the store replaces a store that was down. Other outages, for example of a
// full disk, end by a successful Save or after quietTime: a Check succeeds during
// such an outage, and nginx sends no message to a store that is down (auth_http).
func (c *Committer) watch(g *generation, check func(context.Context) error, conclusive bool) {
	for {
		ctx, cancel := context.WithTimeout(g.ctx, g.Timeout)
		err := check(ctx)
		cancel()
		if g.ctx.Err() != nil {
			return
		}
		if err != nil {
			conclusive = true
			c.down(g, err)
		} else if c.checkSucceeded(g, conclusive) {
			select {
			case <-g.checkNow:
				conclusive = false
				continue
			case <-g.ctx.Done():
				return
			}
		}
		select {
		case <-time.After(checkInterval):
		case <-g.ctx.Done():
			return
		}
	}
}

// checkSucceeded records a successful Check and reports whether the store is up.
func (c *Committer) checkSucceeded(g *generation, conclusive bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !conclusive && !c.health.up && time.Since(c.health.failed) <= quietTime {
		return false
	}
	if c.generations.current == g {
		c.health.markUp(g.Log)
	}
	return true
}
