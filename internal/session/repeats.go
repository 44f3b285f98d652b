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
	maxReasons     = 20 // that are counted separately
)

// Repeats keeps an outage from flooding the log. The first refusal for a reason
// has its line, the refusals after it are counted, and the count is logged every
// minute until a minute has none. Its methods may be called concurrently.
type Repeats struct {
	log    *slog.Logger
	outage func(error) bool

	mu     sync.Mutex
	counts map[repeat]int // refusals without a line, for each reason that has a timer
}

// A repeat is what is counted.
type repeat struct {
	level         slog.Level
	event, reason string
}

// NewRepeats returns a Repeats that logs to log. outage reports whether an error
// that Saved gets concerns every message; other errors keep their lines.
func NewRepeats(log *slog.Logger, outage func(error) bool) *Repeats {
	return &Repeats{log: log, outage: outage, counts: make(map[repeat]int)}
}

// isOutage reports whether an error is counted. A nil Repeats counts nothing.
func (r *Repeats) isOutage(err error) bool { return r != nil && r.outage(err) }

// first reports whether a refusal has its own line. If not, event is logged with
// the count. A nil Repeats counts nothing.
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

// report logs a count, and again after each interval until it is 0.
func (r *Repeats) report(key repeat) {
	if r.flush(key) {
		time.AfterFunc(repeatInterval, func() { r.report(key) })
	}
}

// flush logs a count that is not 0 and begins again. It reports whether it did;
// if not, the next refusal has its own line.
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

// Close logs the counts that wait for the end of their minute.
func (r *Repeats) Close() {
	r.mu.Lock()
	keys := slices.Collect(maps.Keys(r.counts))
	r.mu.Unlock()
	for _, key := range keys {
		r.flush(key)
	}
}
