package redis

import (
	"strconv"
	"sync/atomic"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"goguerrillad/internal/envelope"
)

// Bounds of what waits for Redis to take it.
const (
	streamMost  = 10_000 // entries; later ones are left out
	streamBatch = 500    // entries of one pipeline
)

// An entry tells of one row.
type entry struct {
	hash, to, from, subject string
	size                    int // bytes of the message as it arrived
	date                    time.Time
}

// A stream tells those who read it of each row that was committed, beside the
// mail and as well as it goes: while Redis is away entries wait, up to a
// bound; where a connection is lost they may come twice.
type stream struct {
	options Options
	client  *client
	queue   chan entry
	quit    chan struct{} // closed when nothing more comes
	done    chan struct{} // closed when the goroutine has ended
	end     time.Time     // until when close waits; set before quit is closed
	missed  atomic.Int64  // entries that have been left out and not been told of
}

// newStream starts the one goroutine of a stream.
func newStream(o Options, c *client) *stream {
	s := &stream{options: o, client: c, queue: make(chan entry, streamMost), quit: make(chan struct{}), done: make(chan struct{})}
	go s.run()
	return s
}

// tell takes note of what was committed, and never waits.
func (s *stream) tell(batch []*envelope.Envelope, errs []error) {
	missed := int64(0)
	for n, e := range batch {
		if n >= len(errs) || errs[n] != nil {
			continue
		}
		for _, to := range e.To {
			select {
			case s.queue <- entry{to.Hash, to.Address, e.From, e.Info.Subject, e.Size(), e.Date}:
			default:
				missed++
			}
		}
	}
	if missed > 0 && s.missed.Add(missed) == missed {
		s.options.Log.Warn("the Redis stream misses mails: Redis takes them too slowly, or not at all", "stream", s.options.Stream)
	}
}

// run sends what is queued until the end, and then what is left for as long as
// there is patience.
func (s *stream) run() {
	defer close(s.done)
	var batch []entry // at most streamBatch
	for pause := minPause; ; {
		if batch = s.fill(batch); len(batch) == 0 {
			select {
			case e := <-s.queue:
				batch = append(batch, e)
			case <-s.quit:
				return
			}
		}
		before := len(batch)
		if batch = s.send(batch); len(batch) < before {
			pause = minPause
			if n := s.missed.Swap(0); n > 0 {
				s.options.Log.Warn("the Redis stream goes on, without some mails that are in the table", "stream", s.options.Stream, "missed", n)
			}
			continue
		}
		select {
		case <-time.After(pause):
			pause = nextPause(pause)
		case <-s.quit:
			if pause = minPause; time.Now().After(s.end) {
				return
			}
			time.Sleep(pause)
		}
	}
}

// fill adds what is queued to a batch.
func (s *stream) fill(batch []entry) []entry {
	for len(batch) < streamBatch {
		select {
		case e := <-s.queue:
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

// send adds entries to the stream in one pipeline, and returns those that it
// has not taken.
func (s *stream) send(batch []entry) (left []entry) {
	patience := patience
	taken := s.client.pipeline(&patience, len(batch), func(c redigo.Conn, n int) error {
		e := &batch[n]
		return c.Send("XADD", s.options.Stream, "MAXLEN", "~", s.options.StreamMax, "*",
			"hash", e.hash, "to", e.to, "from", e.from, "subject", e.subject,
			"size", strconv.Itoa(e.size), "date", e.date.UTC().Format(time.RFC3339))
	})
	for n := range batch {
		if n >= len(taken) || !taken[n] {
			left = append(left, batch[n])
		}
	}
	return left
}

// close sends what is queued, for as long as there is patience, and ends.
func (s *stream) close() {
	s.end = time.Now().Add(patience)
	close(s.quit)
	<-s.done
}
