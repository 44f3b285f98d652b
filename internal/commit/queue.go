package commit

import (
	"slices"
	"time"

	"goguerrillad/internal/envelope"
)

// pending is an envelope without an outcome yet.
type pending struct {
	envelope *envelope.Envelope
	done     func(error)
	at       time.Time // of Submit
	err      error     // of the last Save, if it counts as ErrUnavailable
	retry    retry
}

func (p pending) rows() int    { return len(p.envelope.To) }
func (p pending) bytes() int64 { return int64(p.envelope.Size()) * int64(p.rows()) }

// A queue is first in, first out. The Committer's callers bound its length.
type queue struct {
	entries []pending
	head    int   // index of the first queued entry
	bytes   int64 // of the queued entries
}

func (q *queue) len() int { return len(q.entries) - q.head }

func (q *queue) push(p pending) {
	if q.head == len(q.entries) {
		q.entries, q.head = q.entries[:0], 0
	} else if q.head > 64 && q.head > q.len() && len(q.entries) == cap(q.entries) {
		// More than half of the slice is free: move the entries instead of growing.
		n := copy(q.entries, q.entries[q.head:])
		clear(q.entries[n:])
		q.entries, q.head = q.entries[:n], 0
	}
	q.entries = append(q.entries, p)
	q.bytes += p.bytes()
}

// pushAgain queues entries that were in the queue before.
func (q *queue) pushAgain(entries []pending) {
	for _, p := range entries {
		q.push(p)
	}
	slices.SortStableFunc(q.entries[q.head:], func(a, b pending) int { return a.at.Compare(b.at) })
}

// first returns the oldest entry of a queue that is not empty.
func (q *queue) first() *pending { return &q.entries[q.head] }

// popBatch moves the entries of one batch to batch: as many as fit, and at least
// one if the queue is not empty.
func (q *queue) popBatch(batch []pending, maxRows int, maxBytes int64) []pending {
	limit := q.len()
	for q.len() > 0 {
		p := q.first()
		maxRows -= p.rows()
		maxBytes -= p.bytes()
		if p.retry.batch > 0 {
			limit = min(limit, p.retry.batch)
		}
		if len(batch) > 0 && (maxRows < 0 || maxBytes < 0 || len(batch) >= limit) {
			break
		}
		batch = append(batch, q.pop())
	}
	return batch
}

// popBefore removes and returns the entries that were submitted at t or earlier.
func (q *queue) popBefore(t time.Time) (late []pending) {
	for q.len() > 0 && !q.first().at.After(t) {
		late = append(late, q.pop())
	}
	return late
}

func (q *queue) pop() pending {
	p := *q.first()
	*q.first() = pending{}
	q.head++
	q.bytes -= p.bytes()
	return p
}
