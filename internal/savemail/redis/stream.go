package redis

import (
	"strconv"
	"sync/atomic"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"goguerrillad/internal/envelope"
)

const (
	maxQueued = 10_000 // entries that wait for Redis; later entries are dropped
	maxBatch  = 500    // entries of one pipeline
)

// An entry describes one row.
type entry struct {
	hash, to, from, subject string
	size                    int // bytes of the message as it arrived
	date                    time.Time
}

// A stream adds an entry to a Redis stream for each committed row, in the
// background and with best effort. While Redis is unavailable, entries wait in
// the queue. If a connection is lost, entries may be added twice.
type stream struct {
	options  Options
	client   *client
	queue    chan entry
	closing  chan struct{} // closed when no more entries come
	done     chan struct{} // closed when the goroutine has ended
	deadline time.Time     // of the goroutine; set before closing is closed
	dropped  atomic.Int64  // entries that were dropped and not logged
}

// newStream starts the goroutine of a stream.
func newStream(o Options, c *client) *stream {
	s := &stream{options: o, client: c, queue: make(chan entry, maxQueued), closing: make(chan struct{}), done: make(chan struct{})}
	go s.run()
	return s
}

// enqueue queues entries for the rows that were committed. It never waits.
func (s *stream) enqueue(batch []*envelope.Envelope, errs []error) {
	dropped := int64(0)
	for n, e := range batch {
		if n >= len(errs) || errs[n] != nil {
			continue
		}
		for _, to := range e.To {
			select {
			case s.queue <- entry{to.Hash, to.Address, e.From, e.Info.Subject, e.Size(), e.Date}:
			default:
				dropped++
			}
		}
	}
	if dropped > 0 && s.dropped.Add(dropped) == dropped {
		s.options.Log.Warn("Redis stream queue full, dropping entries", "stream", s.options.Stream)
	}
}

// run sends the queued entries until close, and the remaining entries until the
// deadline.
func (s *stream) run() {
	defer close(s.done)
	var batch []entry // at most maxBatch entries
	for backoff := minBackoff; ; {
		if batch = s.fill(batch); len(batch) == 0 {
			select {
			case e := <-s.queue:
				batch = append(batch, e)
			case <-s.closing:
				return
			}
		}
		before := len(batch)
		if batch = s.send(batch); len(batch) < before {
			backoff = minBackoff
			if n := s.dropped.Swap(0); n > 0 {
				s.options.Log.Warn("Redis stream continues without the dropped entries", "stream", s.options.Stream, "dropped", n)
			}
			continue
		}
		select {
		case <-time.After(backoff):
			backoff = nextBackoff(backoff)
		case <-s.closing:
			if backoff = minBackoff; time.Now().After(s.deadline) {
				return
			}
			time.Sleep(backoff)
		}
	}
}

// fill adds queued entries to a batch.
func (s *stream) fill(batch []entry) []entry {
	for len(batch) < maxBatch {
		select {
		case e := <-s.queue:
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

// send adds entries to the stream in one pipeline and returns the entries that
// Redis has not added.
func (s *stream) send(batch []entry) (failed []entry) {
	remaining := saveTimeout
	executed := s.client.pipeline(&remaining, len(batch), func(c redigo.Conn, n int) error {
		e := &batch[n]
		return c.Send("XADD", s.options.Stream, "MAXLEN", "~", s.options.StreamMax, "*",
			"hash", e.hash, "to", e.to, "from", e.from, "subject", e.subject,
			"size", strconv.Itoa(e.size), "date", e.date.UTC().Format(time.RFC3339))
	})
	for n := range batch {
		if n >= len(executed) || !executed[n] {
			failed = append(failed, batch[n])
		}
	}
	return failed
}

// close sends the queued entries for saveTimeout at most and ends the goroutine.
func (s *stream) close() {
	s.deadline = time.Now().Add(saveTimeout)
	close(s.closing)
	<-s.done
}
