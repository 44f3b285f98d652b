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

// idleInterval is the pause between two Checks of a store that is up and saves no
// message, so that Health reports an outage before a message arrives.
const idleInterval = 10 * time.Second

// quietTime ends an outage that no Check detects, for example a full disk: the store
// counts as up when no Save has failed for this time. A successful Save ends every
// outage immediately.
const quietTime = time.Minute

// Health is the state of the current store.
type Health struct {
	Checked  bool      // a Check or a Save of the store has ended
	Up       bool      // the store accepts messages; false before the first Check
	Refusing bool      // the store is down for so long that messages no longer wait: clients receive 451, or 452 if Full
	Full     bool      // the store has too little free space
	Since    time.Time // when Up changed last
	Last     error     // last error of the store, nil if there was none
}

// Outage returns since when a store that is not up has been down, whether messages wait, and
// the reason, in one line.
func (h Health) Outage() string {
	text := "since " + h.Since.UTC().Format(time.DateTime) + " UTC, messages wait"
	switch {
	case h.Full:
		text = strings.TrimSuffix(text, "messages wait") + "replying 452"
	case h.Refusing:
		text = strings.TrimSuffix(text, "messages wait") + "replying 451"
	}
	if h.Last != nil {
		text += ": " + reason(h.Last)
	}
	return text
}

// reason returns the text of an error of the store in one line.
func reason(err error) string {
	return strings.ReplaceAll(strings.TrimPrefix(err.Error(), savemail.ErrUnavailable.Error()+": "), "\n", "; ")
}

// health is the state of the current store. Committer.mu guards it.
type health struct {
	checked, up, refusing bool
	since                 time.Time
	last                  error     // nil if no Save or Check has failed
	failed                time.Time // of the last failed Save or Check
	saved                 time.Time // of the last successful Save
}

// markUp records that the store is up, and reports whether this is a change.
func (h *health) markUp(log *slog.Logger) (changed bool) {
	if h.checked && h.up {
		return false
	}
	now := time.Now()
	if h.checked {
		log.Info("store available again", "after", now.Sub(h.since).Round(time.Millisecond))
	}
	if !h.up {
		h.since = now
	}
	h.checked, h.up, h.refusing = true, true, false
	return true
}

// markDown records a failure of a Save or Check that began at a time, and reports whether
// an outage has begun.
func (h *health) markDown(log *slog.Logger, err error, began time.Time) bool {
	h.last, h.failed = err, time.Now()
	if h.checked && !h.up {
		return false
	}
	h.checked, h.up, h.since = true, false, began
	log.Warn("store unavailable, messages wait", "reason", reason(h.last))
	return true
}

// endPatience ends the time in which messages wait, if the outage lasts.
func (c *Committer) endPatience() {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.generations.current
	if h := &c.health; h.checked && !h.up && !h.refusing && time.Since(h.since) >= g.patience() {
		h.refusing = true
		g.Changed()
		g.Log.Error("store unavailable, replying 451", "reason", reason(h.last))
	}
}

// up records a successful Save.
func (c *Committer) up(g *generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.health.saved = time.Now()
	c.markUp(g)
}

// markUp records that the store of g is up. c.mu is held.
func (c *Committer) markUp(g *generation) {
	if c.generations.current == g && c.health.markUp(g.Log) {
		g.Changed()
	}
}

// down records a failed Save or Check that began at a time. It ignores the failures of a
// replaced store and of Saves that Drain has canceled.
func (c *Committer) down(g *generation, err error, began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generations.current != g || c.ctx.Err() != nil {
		return
	}
	if c.health.markDown(g.Log, err, began) {
		c.outageTimer.Reset(time.Until(began.Add(g.patience())))
		g.requestCheck()
		g.Changed()
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

// watch checks the store at the start, while it is down, and while it saves no message. A
// successful Check is conclusive, that is, it ends the outage, if a Check has failed during
// the outage, or if the store replaces a store that was down. Other outages, for example of
// a full disk, end by a successful Save or after quietTime: a Check succeeds during such an
// outage, and nginx sends no message to a store that is down (auth_http).
func (c *Committer) watch(g *generation, check func(context.Context) error, conclusive bool) {
	for {
		began := time.Now()
		ctx, cancel := context.WithTimeout(g.ctx, g.Timeout)
		err := check(ctx)
		cancel()
		if g.ctx.Err() != nil {
			return
		}
		if err != nil {
			conclusive = true
			c.down(g, err, began)
		} else if c.checkSucceeded(g, conclusive) {
			if !c.awaitCheck(g) {
				return
			}
			conclusive = false
			continue
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
	if !conclusive && c.health.checked && !c.health.up && time.Since(c.health.failed) <= quietTime {
		return false
	}
	c.markUp(g)
	return true
}

// awaitCheck waits until a store that is up needs a Check: a Save has failed, or no Save
// has succeeded for idleInterval. It returns false if the watcher should end.
func (c *Committer) awaitCheck(g *generation) bool {
	idle := time.NewTicker(idleInterval)
	defer idle.Stop()
	for {
		select {
		case <-g.checkNow:
			return true
		case <-g.ctx.Done():
			return false
		case <-idle.C:
			if c.idle() {
				return true
			}
		}
	}
}

// idle reports whether no Save has succeeded for idleInterval.
func (c *Committer) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.health.saved) >= idleInterval
}
