package savemail

import (
	"context"
	"log/slog"
	"strings"
	"time"
)

// A Checker is a Store that can tell whether it would take mail. Check runs
// beside Saves: once at the start, then every second while the store is down,
// so that an operator hears of its end and its return without waiting for a
// mail. It returns soon after ctx is done.
type Checker interface {
	Check(ctx context.Context) error
}

// Times of a store that is down.
const (
	checkPause = time.Second // between two Checks
	// What a Check does not find, a full disk perhaps, is over when no Save
	// has failed for so long. A Save that succeeds ends it at once.
	quietTime = time.Minute
)

// health is what is known of the current store; Committer.mu guards it.
type health struct {
	up     bool
	since  time.Time
	last   error     // nil if nothing has gone wrong
	failed time.Time // the last Save or Check that did
}

// rise takes note that the store has answered as it should.
func (h *health) rise(log *slog.Logger) {
	if h.up {
		return
	}
	now := time.Now()
	log.Info("store is back", "after", now.Sub(h.since).Round(time.Millisecond))
	h.up, h.since = true, now
}

// fall takes note that it has not, and reports whether that is news.
func (h *health) fall(log *slog.Logger, err error) bool {
	h.last, h.failed = err, time.Now()
	if !h.up {
		return false
	}
	h.up, h.since = false, h.failed
	reason := strings.TrimPrefix(err.Error(), ErrUnavailable.Error()+": ")
	log.Error("store unavailable: until it is back, senders are told to try again later", "reason", reason)
	return true
}

func (c *Committer) up(g *generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == g {
		c.health.rise(g.Log)
	}
}

func (c *Committer) down(g *generation, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != g || c.ctx.Err() != nil {
		return
	}
	if c.health.fall(g.Log, err) {
		g.wake()
	}
}

// doubt keeps an error that does not tell whether the store is up; a Check or the
// next batch will.
func (c *Committer) doubt(g *generation, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == g {
		c.health.last = err
		g.wake()
	}
}

// wake has the watcher check the store.
func (g *generation) wake() {
	select {
	case g.poke <- struct{}{}:
	default:
	}
}

// watch checks the store at the start, and then whenever it is down. Only a
// Check that has failed, or the first of a store that replaces one that was
// down, is believed when it succeeds: else each mail that meets a full disk
// would be followed by word that the store is back. A store that is no Checker
// is back when a Save succeeds, or none has failed for quietTime: else nothing
// would come to it from those who ask first whether it is up.
func (c *Committer) watch(g *generation, check func(context.Context) error, believed bool) {
	for {
		ctx, cancel := context.WithTimeout(g.ctx, g.Timeout)
		err := check(ctx)
		cancel()
		if g.ctx.Err() != nil {
			return
		}
		if err != nil {
			believed = true
			c.down(g, err)
		} else if c.answered(g, believed) {
			select {
			case <-g.poke:
				believed = false
				continue
			case <-g.ctx.Done():
				return
			}
		}
		select {
		case <-time.After(checkPause):
		case <-g.ctx.Done():
			return
		}
	}
}

// answered takes note that a Check has succeeded, and reports whether the store
// is up: it was, or the Check is believed, or no Save has failed for a while.
func (c *Committer) answered(g *generation, believed bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !believed && !c.health.up && time.Since(c.health.failed) <= quietTime {
		return false
	}
	if c.current == g {
		c.health.rise(g.Log)
	}
	return true
}
