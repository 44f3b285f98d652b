package savemail

import (
	"time"

	"goguerrillad/internal/envelope"
)

// pending is an envelope on its way to an outcome.
type pending struct {
	envelope *envelope.Envelope
	done     func(error)
	at       time.Time // of Submit
}

func (p pending) rows() int    { return len(p.envelope.To) }
func (p pending) bytes() int64 { return int64(p.envelope.Size()) * int64(p.rows()) }

// A queue is first in, first out. Its length is bounded by who fills it.
type queue struct {
	entries []pending
	head    int   // entries before it are taken
	bytes   int64 // of those that are not
}

func (q *queue) len() int { return len(q.entries) - q.head }

func (q *queue) push(p pending) {
	if q.head == len(q.entries) {
		q.entries, q.head = q.entries[:0], 0
	} else if q.head > 64 && q.head > q.len() && len(q.entries) == cap(q.entries) {
		// More than half is taken: move down instead of growing.
		n := copy(q.entries, q.entries[q.head:])
		clear(q.entries[n:])
		q.entries, q.head = q.entries[:n], 0
	}
	q.entries = append(q.entries, p)
	q.bytes += p.bytes()
}

// first is the oldest entry of a queue that is not empty.
func (q *queue) first() *pending { return &q.entries[q.head] }

// take appends to batch what fits into one batch, at least one entry if there
// is any.
func (q *queue) take(batch []pending, maxRows int, maxBytes int64) []pending {
	for q.len() > 0 {
		p := q.first()
		maxRows -= p.rows()
		maxBytes -= p.bytes()
		if len(batch) > 0 && (maxRows < 0 || maxBytes < 0) {
			break
		}
		batch = append(batch, q.pop())
	}
	return batch
}

// takeBefore takes what was submitted before t, or at t.
func (q *queue) takeBefore(t time.Time) (late []pending) {
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
