package savemail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"goguerrillad/internal/envelope"
)

// Options are the sizes of a Committer. A zero value means the default.
type Options struct {
	Writers  int           // Saves that may run at a time, default 1
	Reliefs  int           // Saves that may run beside, in place of some that last longer than reliefTime; default 0
	Enough   int           // mails that are worth a Save while another runs, default 1; fewer wait for a moment, patience
	MaxRows  int           // rows of one batch, default 50; an envelope with more is a batch of its own
	MaxBytes int64         // bytes of mail in one batch, default 1 MiB; an envelope with more is a batch of its own
	Timeout  time.Duration // from Submit to the outcome, default 60 s; every Save has at least half of it
	Log      *slog.Logger  // default slog.Default()
	// Committed, if it is not nil, hears of every batch that was committed: how
	// long the Save took, and the rows.
	Committed func(took time.Duration, rows int)
}

func (o Options) withDefaults() Options {
	o.Writers = max(o.Writers, 1)
	o.Reliefs = max(o.Reliefs, 0)
	o.Enough = max(o.Enough, 1)
	o.MaxRows = cmp.Or(max(o.MaxRows, 0), 50)
	o.MaxBytes = cmp.Or(max(o.MaxBytes, 0), 1<<20)
	o.Timeout = cmp.Or(max(o.Timeout, 0), time.Minute)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

// A Committer commits in groups: a writer that is free takes what is queued
// and saves it as one batch. What comes while no Save runs is saved at once;
// batches grow by themselves while the store is busy. Where several small ones
// cost a store more than one, Options.Enough keeps them together for a moment.
//
// Its goroutines are the writers of the current store with their reliefs and
// one watcher, and those of a replaced store until their last Save has ended,
// the last of them until it has settled what is open. Its queue holds what the sessions have submitted and not got back:
// at most one envelope a session, each within the sessions' memory budget.
type Committer struct {
	ctx    context.Context // of every Save; ended when Drain is cut short
	cancel context.CancelFunc
	serve  context.Context // until Drain
	stop   context.CancelFunc

	mu       sync.Mutex
	work     sync.Cond // something to take, or a reason to leave
	queue    queue
	hurry    *time.Timer // runs hasten
	current  *generation
	running  int                 // writers, watchers and sweeps of all generations
	saves    map[*time.Time]bool // when each Save that runs must be over
	sweeper  *time.Timer         // runs sweep
	sweeping bool                // it is set, as always when something is queued
	draining bool
	drained  chan struct{} // closed when draining and nothing runs
	health   health
	counters Counters
}

// errStopping is the outcome of what comes too late to be saved.
var errStopping = fmt.Errorf("%w: the program is stopping", ErrUnavailable)

// A generation is one store and what runs on it: from New or Swap to the next.
type generation struct {
	Options
	store   Store
	running int                // its writers, watcher and sweeps, guarded by Committer.mu
	saving  int                // its Saves under way, likewise
	slow    int                // its writers that have been relieved and are not back, likewise
	ctx     context.Context    // of the watcher
	retire  context.CancelFunc // when a later store has taken over, or at the drain
	poke    chan struct{}      // wakes the watcher when the store has gone down, or an outcome is unknown
}

// Counters are totals since the start, but for Queued.
type Counters struct {
	Batches     uint64 // committed transactions
	Mails, Rows uint64 // committed
	Bytes       uint64 // of the committed mails, as they arrived
	Unavailable uint64 // mails that failed because the store could not be reached or written
	Rejected    uint64 // mails that the store refused
	Refused     uint64 // mails that the store refused for good
	Unknown     uint64 // mails whose outcome could not be settled
	Queued      int    // mails waiting for a writer now
}

// New starts the writers. The Committer closes the store at the end.
func New(store Store, o Options) *Committer {
	c := &Committer{drained: make(chan struct{}), saves: map[*time.Time]bool{}}
	c.work.L = &c.mu
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.serve, c.stop = context.WithCancel(c.ctx)
	c.health = health{up: true, since: time.Now()}
	c.sweeper = time.AfterFunc(time.Hour, c.sweep)
	c.sweeper.Stop()
	c.hurry = time.AfterFunc(time.Hour, c.hasten)
	c.hurry.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.start(store, o)
	return c
}

// start makes store the current one; c.mu is held.
func (c *Committer) start(store Store, o Options) {
	g := &generation{Options: o.withDefaults(), store: store, poke: make(chan struct{}, 1)}
	g.ctx, g.retire = context.WithCancel(c.ctx)
	c.current = g
	for range g.Writers {
		c.run(g, func() { c.write(g) })
	}
	check := func(context.Context) error { return nil } // until a Save says otherwise
	if k, ok := store.(Checker); ok {
		check = k.Check
	}
	wasDown := !c.health.up
	c.run(g, func() { c.watch(g, check, wasDown) })
}

// run starts a goroutine of g; c.mu is held. The last one of a store that is
// no longer current closes it.
func (c *Committer) run(g *generation, f func()) {
	g.running++
	c.running++
	go func() {
		f()
		c.mu.Lock()
		g.running--
		last := g.running == 0
		c.mu.Unlock()
		if last {
			if s, ok := g.store.(Settler); ok {
				s.Settle(c.serve) // at the drain there is no time for it
			}
			c.close(g)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.running--
		if c.draining && c.running == 0 {
			close(c.drained)
		}
	}()
}

func (c *Committer) close(g *generation) {
	if err := g.store.Close(); err != nil {
		g.Log.Error("the store does not close cleanly", "error", err)
	}
}

// Submit hands an envelope over and never blocks. Exactly one call of done
// reports its outcome: nil when it is durable, else one of the store's errors;
// then the envelope is the caller's again. done runs in one of the Committer's
// goroutines, which waits for it: it must not block. After Drain the outcome is ErrUnavailable.
func (c *Committer) Submit(e *envelope.Envelope, done func(error)) {
	c.mu.Lock()
	if c.draining {
		c.counters.Unavailable++
		c.mu.Unlock()
		go done(errStopping)
		return
	}
	c.queue.push(pending{envelope: e, done: done, at: time.Now()})
	if c.queue.len() == 1 {
		c.waitForMore(c.current)
	}
	if !c.sweeping {
		c.sweeping = true
		c.sweeper.Reset(c.current.Timeout / 2)
	}
	c.mu.Unlock()
	c.work.Signal()
}

// Swap makes store the current one: what is queued and what comes later goes
// to it. The one before is closed when its last Save has ended.
func (c *Committer) Swap(store Store, o Options) {
	c.mu.Lock()
	if c.draining {
		c.mu.Unlock()
		c.close(&generation{Options: o.withDefaults(), store: store})
		return
	}
	c.current.retire()
	c.start(store, o)
	if c.sweeping {
		c.sweeper.Reset(0) // by the new Timeout
	}
	c.mu.Unlock()
	c.work.Broadcast()
}

// Drain waits until everything that was submitted has its outcome, the writers
// have ended and the store is closed. When ctx ends first, Saves are told to
// come back, what is queued fails, and Drain returns without waiting.
func (c *Committer) Drain(ctx context.Context) error {
	c.mu.Lock()
	c.draining = true
	c.current.retire()
	c.stop()
	c.mu.Unlock()
	c.work.Broadcast()
	select {
	case <-c.drained:
		return nil
	case <-ctx.Done():
	}
	c.cancel()
	select {
	case <-c.drained: // both were ready
		return nil
	default:
		return fmt.Errorf("drain the saver: %w", context.Cause(ctx))
	}
}

// State tells whether the store takes mail, since when that is so, and the
// last thing that went wrong, nil if nothing did.
func (c *Committer) State() (up bool, since time.Time, lastErr error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.health.up, c.health.since, c.health.last
}

// overdueTime is how long a Save may go on when its time is up.
const overdueTime = 15 * time.Second

// Alive returns nil when the writers do their work: a store that is away makes
// Saves fail in their time, but one that has forgotten its time holds mail up
// for good.
func (c *Committer) Alive() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for end := range c.saves {
		if late := time.Since(*end); late > overdueTime {
			return fmt.Errorf("a Save goes on though its time was up %v ago", late.Round(time.Second))
		}
	}
	return nil
}

// Counters returns the totals.
func (c *Committer) Counters() Counters {
	c.mu.Lock()
	defer c.mu.Unlock()
	counters := c.counters
	counters.Queued = c.queue.len()
	return counters
}

// kind returns the kind of failure that an error of a store is.
func kind(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnknown): // first: it forbids the most
		return ErrUnknown
	case errors.Is(err, ErrRejected):
		return ErrRejected
	case errors.Is(err, ErrRefused):
		return ErrRefused
	default:
		return ErrUnavailable
	}
}
