package session

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Bounds of Repeats.
const (
	repeatInterval = time.Minute
	maxReasons     = 20 // reasons that are counted separately
)

// Repeats counts refusals during an outage instead of logging each of them. The first
// refusal for a reason is logged, the next ones are counted, and their count is logged
// every minute until a minute has none. The methods may be called concurrently.
type Repeats struct {
	log    *slog.Logger
	outage func(error) bool

	mu     sync.Mutex
	counts map[repeat]int // refusals since the last log line; each key has a timer
}

// A repeat is a kind of refusal.
type repeat struct {
	level         slog.Level
	event, reason string
}

// NewRepeats returns a Repeats that logs to log. outage reports whether an error of
// Save concerns all messages; only such errors are counted.
func NewRepeats(log *slog.Logger, outage func(error) bool) *Repeats {
	return &Repeats{log: log, outage: outage, counts: make(map[repeat]int)}
}

// isOutage reports whether an error concerns all messages. It returns false if r is nil.
func (r *Repeats) isOutage(err error) bool { return r != nil && r.outage(err) }

// first reports whether the caller should log a refusal. If it returns false, the
// refusal is counted, and event is logged with the count. It returns true if r is nil.
func (r *Repeats) first(level slog.Level, event, reason string) bool {
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := repeat{level, event, reason}
	if _, known := r.counts[key]; !known && len(r.counts) >= maxReasons {
		key.reason = "other reasons"
	}
	if _, known := r.counts[key]; known {
		r.counts[key]++
		return false
	}
	r.counts[key] = 0
	time.AfterFunc(repeatInterval, func() { r.report(key) })
	return true
}

// report logs a count, and again after each interval until the count is 0.
func (r *Repeats) report(key repeat) {
	if r.flush(key) {
		time.AfterFunc(repeatInterval, func() { r.report(key) })
	}
}

// flush logs a count that is not 0 and resets it. It returns false if the count is 0;
// then the next refusal is logged again.
func (r *Repeats) flush(key repeat) bool {
	r.mu.Lock()
	n := r.counts[key]
	r.counts[key] = 0
	if n == 0 {
		delete(r.counts, key)
	}
	r.mu.Unlock()
	if n > 0 {
		r.log.Log(context.Background(), key.level, key.event, "count", n, "interval", repeatInterval, "reason", key.reason)
	}
	return n > 0
}

// Close logs the counts now.
func (r *Repeats) Close() {
	r.mu.Lock()
	keys := slices.Collect(maps.Keys(r.counts))
	r.mu.Unlock()
	for _, key := range keys {
		r.flush(key)
	}
}
