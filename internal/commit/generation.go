package commit

import (
	"context"
	"log/slog"
	"time"

	"goguerrillad/internal/savemail"
)

// A generation is one store with the goroutines that use it. It begins at New
// or Swap and ends when the last goroutine has returned.
type generation struct {
	Options
	store    savemail.Store
	local    savemail.Local     // the store if Options.MinFree applies to it, else nil
	ctx      context.Context    // of the watcher
	retire   context.CancelFunc // called when another store is current, and by Drain
	checkNow chan struct{}      // of capacity 1, makes the watcher check the store
	idle     chan struct{}      // of capacity 1, sent to when no message is queued or being saved

	// Guarded by Committer.mu.
	running  int // goroutines
	saving   int // Saves in progress
	replaced int // writers that an extra writer has replaced and whose Save is still running
}

// generations are all generations whose goroutines run. Committer.mu guards them.
type generations struct {
	current  *generation
	running  int // goroutines of all generations
	draining bool
	drained  chan struct{} // closed when draining is set and no goroutine runs
}

// start makes store the current store; c.mu is held.
func (c *Committer) start(store savemail.Store, o Options) {
	g := &generation{Options: o.withDefaults(), store: store, checkNow: make(chan struct{}, 1), idle: make(chan struct{}, 1)}
	g.ctx, g.retire = context.WithCancel(c.ctx)
	c.generations.current = g
	for range g.Writers {
		c.run(g, func() { c.write(g) })
	}
	check := func(context.Context) error { return nil } // until a Save fails
	if k, ok := store.(savemail.Checker); ok {
		check = k.Check
	}
	wasDown := c.health.checked && !c.health.up
	c.health.checked = c.health.checked && wasDown
	c.run(g, func() { c.watch(g, check, wasDown) })
	c.space, c.retention = space{}, Retention{Keep: g.Keep, Deleted: c.retention.Deleted}
	c.full.Store(false)
	if local, ok := savemail.As[savemail.Local](store); ok && g.MinFree > 0 {
		g.local = local
		c.run(g, func() { c.watchSpace(g) })
	}
	if expirer, ok := savemail.As[savemail.Expirer](store); ok && g.Keep > 0 {
		c.run(g, func() { c.retain(g, expirer) })
	}
}

// run starts a goroutine of g; c.mu is held. The last goroutine of a generation
// settles unknown outcomes, unless Drain has begun, and closes the store.
func (c *Committer) run(g *generation, f func()) {
	g.running++
	c.generations.running++
	go func() {
		f()
		c.mu.Lock()
		g.running--
		last := g.running == 0
		c.mu.Unlock()
		if last {
			if s, ok := g.store.(savemail.Settler); ok {
				s.Settle(c.serve)
			}
			closeStore(g.store, g.Log)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.generations.running--
		if c.generations.draining && c.generations.running == 0 {
			close(c.generations.drained)
		}
	}()
}

func closeStore(store savemail.Store, log *slog.Logger) {
	if err := store.Close(); err != nil {
		log.Error("cannot close the store", "error", err)
	}
}

// maxOverdue is how long after its deadline a Save may return.
const maxOverdue = 15 * time.Second

// deadlines are the deadlines of the Saves in progress.
type deadlines map[*time.Time]struct{}

// overdue returns how long ago the earliest deadline passed, 0 if no deadline
// has passed.
func (d deadlines) overdue() time.Duration {
	var most time.Duration
	for end := range d {
		most = max(most, time.Since(*end))
	}
	return most
}
