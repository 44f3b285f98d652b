// Package commit saves the messages that sessions submit in batches (group commit)
// and reports one outcome per envelope.
package commit

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
)

// Options configure a Committer. A zero value means the default.
type Options struct {
	Writers      int           // concurrent Saves, default 1
	ExtraWriters int           // maximum number of extra writers, which replace writers whose Save takes longer than slowSave; default 0
	MinBatch     int           // messages that start a Save while another Save runs, default 1; fewer messages wait up to batchWait
	MaxRows      int           // rows of one batch, default 50; an envelope with more rows is a batch of its own
	MaxBytes     int64         // bytes of one batch, default 1 MiB; an envelope with more bytes is a batch of its own
	Timeout      time.Duration // maximum time from Submit to the outcome, default 60 s; a Save has at least half of it
	Keep         time.Duration // after it, a savemail.Expirer deletes a message; 0 = never
	MinFree      int64         // bytes that a savemail.Local must have free to receive messages; 0 = no minimum
	Log          *slog.Logger  // default slog.Default()
	// Committed, if not nil, receives the duration of each successful Save and
	// the number of rows that it committed.
	Committed func(took time.Duration, rows int)
	// Changed, if not nil, is called after a change of Health, and must not block.
	Changed func()
}

func (o Options) withDefaults() Options {
	o.Writers = max(o.Writers, 1)
	o.ExtraWriters = max(o.ExtraWriters, 0)
	o.MinBatch = max(o.MinBatch, 1)
	o.MaxRows = cmp.Or(max(o.MaxRows, 0), 50)
	o.MaxBytes = cmp.Or(max(o.MaxBytes, 0), 1<<20)
	o.Timeout = cmp.Or(max(o.Timeout, 0), time.Minute)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	return o
}

// A Committer saves queued envelopes in batches: a free writer takes what is
// queued and saves it in one transaction. A message that arrives while no Save
// is running is saved immediately; batches grow while the store is busy.
//
// Its goroutines belong to generations: the writers, extra writers and watcher
// of the current store, and the goroutines of replaced stores that have not
// ended yet. The queue holds at most one envelope per session, and the sessions
// bound its bytes by their memory budget.
type Committer struct {
	ctx    context.Context // of every Save; canceled when the context of Drain ends
	cancel context.CancelFunc
	serve  context.Context // of every Settle; canceled by Drain
	stop   context.CancelFunc

	mu          sync.Mutex
	work        sync.Cond // signals a change of the queue, the generation or the drain
	queue       queue
	batchTimer  *time.Timer // runs wakeWriter
	expiryTimer *time.Timer // runs expire
	expiring    bool        // expiryTimer is running, as it always is while the queue is not empty
	waiting     []pending   // messages whose Save has failed, until their next Save
	retryTimer  *time.Timer // runs requeueDue
	outageTimer *time.Timer // runs endPatience
	generations generations
	saves       deadlines
	health      health
	space       space
	retention   Retention
	counters    Counters

	full atomic.Bool // space.Full, for Full
}

// errStopping is the outcome of an envelope that Drain no longer saves.
var errStopping = fmt.Errorf("%w: the daemon is shutting down", savemail.ErrUnavailable)

// Counters are totals since New, except for Queued.
type Counters struct {
	Batches     uint64 // committed transactions
	Messages    uint64 // committed messages
	Rows        uint64 // committed rows
	Bytes       uint64 // bytes of the committed messages, as they arrived
	Unavailable uint64 // messages that failed with ErrUnavailable
	Rejected    uint64 // messages that failed with ErrRejected
	Refused     uint64 // messages that failed with ErrRefused
	Unknown     uint64 // messages that failed with ErrUnknown
	Full        uint64 // messages that were complete when the store had too little free space
	Queued      int    // messages that wait for a writer or for the end of an outage now
}

// New starts the writers of a store. The Committer closes the store after Swap has
// replaced it, or at Drain.
func New(store savemail.Store, o Options) *Committer {
	c := &Committer{saves: deadlines{}, health: health{since: time.Now()}}
	c.generations.drained = make(chan struct{})
	c.work.L = &c.mu
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.serve, c.stop = context.WithCancel(c.ctx)
	c.batchTimer = stoppedTimer(c.wakeWriter)
	c.expiryTimer = stoppedTimer(c.expire)
	c.retryTimer = stoppedTimer(c.requeueDue)
	c.outageTimer = stoppedTimer(c.endPatience)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.start(store, o)
	return c
}

// stoppedTimer returns a timer that runs f once it is reset.
func stoppedTimer(f func()) *time.Timer {
	t := time.AfterFunc(time.Hour, f)
	t.Stop()
	return t
}

// Submit queues an envelope and never blocks. It calls done exactly once with
// the outcome: nil if the message is durable, else an error of package savemail.
// The envelope then belongs to the caller again. done runs in a goroutine of the
// Committer and must not block. After Drain the outcome is ErrUnavailable.
func (c *Committer) Submit(e *envelope.Envelope, done func(error)) {
	c.mu.Lock()
	if c.generations.draining {
		c.counters.Unavailable++
		c.mu.Unlock()
		go done(errStopping)
		return
	}
	c.queue.push(pending{envelope: e, done: done, at: time.Now()})
	c.queued()
	c.mu.Unlock()
	c.work.Signal()
}

// queued starts the timers of a queue that is not empty. c.mu is held.
func (c *Committer) queued() {
	g := c.generations.current
	if c.queue.len() == 1 {
		c.startBatchTimer(g)
	}
	if !c.expiring {
		c.expiring = true
		c.expiryTimer.Reset(time.Until(c.queue.first().at.Add(g.Timeout / 2)))
	}
}

// Swap makes store the current store. Queued and later envelopes go to the new
// store; the old store is closed when its last Save has ended.
func (c *Committer) Swap(store savemail.Store, o Options) {
	c.mu.Lock()
	if c.generations.draining {
		c.mu.Unlock()
		closeStore(store, o.withDefaults().Log)
		return
	}
	c.generations.current.retire()
	c.start(store, o)
	c.requeueAll()
	if c.expiring {
		c.expiryTimer.Reset(0) // since the new Timeout may be shorter
	}
	c.mu.Unlock()
	c.work.Broadcast()
}

// Drain waits until every submitted envelope has its outcome, the writers have
// ended and the store is closed. If ctx ends first, Drain cancels the running
// Saves, fails the queued envelopes and returns an error without waiting.
func (c *Committer) Drain(ctx context.Context) error {
	c.mu.Lock()
	c.generations.draining = true
	c.generations.current.retire()
	c.requeueAll() // for a last Save
	c.stop()
	c.mu.Unlock()
	c.work.Broadcast()
	select {
	case <-c.generations.drained:
		return nil
	case <-ctx.Done():
	}
	c.cancel()
	select {
	case <-c.generations.drained: // the drain ended at the same time
		return nil
	default:
		return fmt.Errorf("drain the commit queue: %w", context.Cause(ctx))
	}
}

// Health returns the state of the store. A store with too little free space is down.
func (c *Committer) Health() Health {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.space.Full {
		return Health{Checked: true, Full: true, Refusing: true, Since: c.space.since, Last: c.space.err()}
	}
	h := c.health
	return Health{Checked: h.checked, Up: h.up, Refusing: h.refusing, Since: h.since, Last: h.last}
}

// Alive returns an error if a Save has not returned maxOverdue after its deadline.
// An unavailable store is not an error here, since its Saves fail in time.
func (c *Committer) Alive() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if late := c.saves.overdue(); late > maxOverdue {
		return fmt.Errorf("a Save is overdue by %v", late.Round(time.Second))
	}
	return nil
}

// Counters returns the totals.
func (c *Committer) Counters() Counters {
	c.mu.Lock()
	defer c.mu.Unlock()
	counters := c.counters
	counters.Queued = c.queue.len() + len(c.waiting)
	return counters
}
