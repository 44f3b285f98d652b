package redis

import (
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"goguerrillad/internal/envelope"
)

const (
	maxQueued = 10_000 // entries in the queue; while it is full, new entries are dropped
	maxBatch  = 500    // entries of one pipeline

	maxSubject = 1000 // characters; a queue of long subjects would fill the memory
)

// An entry has the values of one row for the stream.
type entry struct {
	hash, to, from, subject    string
	size                       int // bytes of the message as it arrived
	date                       time.Time
	messageID, replyTo, sender string
	helo, tls, login, proxy    string
}

func newEntry(e *envelope.Envelope, to envelope.Recipient) entry {
	return entry{
		hash: to.Hash, to: to.Address, from: e.From, subject: cut(e.Info.Subject), size: e.Size(), date: e.Date,
		messageID: e.Info.MessageID, replyTo: e.Info.ReplyTo, sender: e.Info.Sender,
		helo: valid(e.Helo), tls: e.TLS, login: valid(e.Login), proxy: e.Proxy,
	}
}

// valid returns a text with U+FFFD for each sequence of bytes that is not UTF-8. A
// client chooses these bytes, and a consumer may expect UTF-8.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// cut returns the first maxSubject characters of a subject.
func cut(subject string) string {
	chars := 0
	for i := range subject {
		if chars++; chars > maxSubject {
			return strings.Clone(subject[:i])
		}
	}
	return subject
}

// A stream adds an entry to a Redis stream for each committed row. A goroutine sends
// the entries; they wait in a queue while Redis is unavailable. If a connection is
// lost, entries may be added twice.
type stream struct {
	options  Options
	client   *client
	queue    chan entry
	closing  chan struct{} // closed by close
	done     chan struct{} // closed when the goroutine has ended
	deadline time.Time     // nothing is sent after it; set before closing is closed
	dropped  atomic.Int64  // number of dropped entries that is not in the log yet
}

// newStream starts the goroutine of a stream.
func newStream(o Options, c *client) *stream {
	s := &stream{options: o, client: c, queue: make(chan entry, maxQueued), closing: make(chan struct{}), done: make(chan struct{})}
	go s.run()
	return s
}

// enqueue queues an entry for each committed row. It never waits.
func (s *stream) enqueue(batch []*envelope.Envelope, errs []error) {
	dropped := int64(0)
	for n, e := range batch {
		if n >= len(errs) || errs[n] != nil {
			continue
		}
		for _, to := range e.To {
			select {
			case s.queue <- newEntry(e, to):
			default:
				dropped++
			}
		}
	}
	if dropped > 0 && s.dropped.Add(dropped) == dropped {
		s.options.Log.Warn("Redis stream queue full, dropping entries", "stream", s.options.Stream)
	}
}

// run sends the queued entries and retries after failures. After close, it returns
// when the queue is empty, or after the deadline.
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
		if s.isOver() {
			return
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
			time.Sleep(minBackoff)
		}
	}
}

// isOver reports whether the deadline after close has passed.
func (s *stream) isOver() bool {
	select {
	case <-s.closing:
		return time.Now().After(s.deadline)
	default:
		return false
	}
}

// fill adds queued entries to a batch, up to maxBatch.
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

// send sends entries in one pipeline and returns the entries that Redis has not
// added to the stream.
func (s *stream) send(batch []entry) (failed []entry) {
	remaining := saveTimeout
	executed := s.client.pipeline(&remaining, len(batch), func(c redigo.Conn, n int) error {
		e := &batch[n]
		return c.Send("XADD", s.options.Stream, "MAXLEN", "~", s.options.StreamMax, "*",
			"hash", e.hash, "to", e.to, "from", e.from, "subject", e.subject,
			"size", strconv.Itoa(e.size), "date", e.date.UTC().Format(time.RFC3339),
			"message_id", e.messageID, "reply_to", e.replyTo, "sender", e.sender,
			"helo", e.helo, "tls", e.tls, "login", e.login, "proxy", e.proxy)
	})
	for n := range batch {
		if n >= len(executed) || !executed[n] {
			failed = append(failed, batch[n])
		}
	}
	return failed
}

// close waits until run has returned. run retries for saveTimeout at most.
func (s *stream) close() {
	s.deadline = time.Now().Add(saveTimeout)
	close(s.closing)
	<-s.done
}
