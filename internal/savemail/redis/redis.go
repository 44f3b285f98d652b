// Package redis stores messages in Redis, each under the hash of its row. Redis
// has copies of the messages that a store has committed, or, as in Go-Guerrilla of
// 2012, the messages in place of the column mail. Redis never changes the outcome
// of a message, and delays a Save by at most 1 s.
package redis

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// Options configure a Store or a reader.
type Options struct {
	Host string // host:port or /path/to.sock
	Pass string // "" for no authentication
	DB   int    // number of the database
	// InPlace stores the messages in Redis instead of in the column mail. A message
	// that Redis does not accept is in the column nevertheless. Without InPlace,
	// Redis gets copies.
	InPlace  bool
	Expire   time.Duration // after it, Redis deletes a message; rounded down to seconds, at least 1 s
	Compress bool          // zlib (RFC 1950), as in the column mail
	// Stream is the key of a stream that gets an entry for each committed row; ""
	// means no stream. The stream keeps about StreamMax entries.
	Stream    string
	StreamMax int64
	Log       *slog.Logger // slog.Default() if nil
}

// mode returns the value of REDIS_MODE.
func (o Options) mode() string {
	if o.InPlace {
		return modeStore
	}
	return modeCache
}

// saveTimeout is the time that one Save may wait for Redis in total. It is also the
// timeout of a probe and of a pipeline of the stream.
const saveTimeout = time.Second

// A Store is a store that also stores messages in Redis. It has a goroutine for the
// prober and one for the stream, and at most one connection for each of them and for
// each concurrent Save.
type Store struct {
	inner      savemail.Store
	options    Options
	client     *client
	stream     *stream // nil without Options.Stream
	compressor newmail.Compressor
}

// New returns a Store around inner and starts to connect. The Store is a
// savemail.Checker if inner is one. Its Close closes inner.
func New(inner savemail.Store, o Options) savemail.Store {
	o.Log = cmp.Or(o.Log, slog.Default())
	if o.InPlace {
		o.Log.Warn("REDIS_MODE=store: messages are only in Redis, until they expire", "host", o.Host, "expire", o.Expire)
	}
	s := &Store{inner: inner, options: o, client: newClient(o)}
	if o.Stream != "" {
		s.stream = newStream(o, s.client)
	}
	if checker, ok := inner.(savemail.Checker); ok {
		return struct {
			*Store
			savemail.Checker
		}{s, checker}
	}
	return s
}

// Save saves the batch in the inner store. It stores the messages in Redis before
// that with InPlace, otherwise after it, and then queues the entries of the stream.
func (s *Store) Save(ctx context.Context, batch []*envelope.Envelope) []error {
	errs := s.save(ctx, batch)
	if s.stream != nil {
		s.stream.enqueue(batch, errs)
	}
	return errs
}

func (s *Store) save(ctx context.Context, batch []*envelope.Envelope) []error {
	for _, e := range batch {
		for i := range e.To {
			e.To[i].InRedis = false
		}
	}
	remaining := saveTimeout
	if !s.options.InPlace {
		errs := s.inner.Save(ctx, batch)
		s.put(selectMessages(batch, errs, func(_ message, err error) bool { return err == nil }), &remaining)
		return errs
	}
	for _, m := range s.put(selectMessages(batch, nil, nil), &remaining) {
		m.to().InRedis = true
	}
	errs := s.inner.Save(ctx, batch)
	// If the outcome is unknown, a row may refer to the message.
	s.remove(selectMessages(batch, errs, func(m message, err error) bool {
		return m.to().InRedis && err != nil && !errors.Is(err, savemail.ErrUnknown)
	}), &remaining)
	return errs
}

// A message is an envelope's message for one recipient.
type message struct {
	envelope *envelope.Envelope
	i        int // index of the recipient
}

func (m message) to() *envelope.Recipient { return &m.envelope.To[m.i] }

// selectMessages returns the messages of a batch for which selected returns true.
// selected receives a message and the outcome of its envelope. If selected is nil,
// selectMessages returns all messages.
func selectMessages(batch []*envelope.Envelope, errs []error, selected func(message, error) bool) []message {
	var list []message
	for n, e := range batch {
		for i := range e.To {
			m := message{e, i}
			if selected == nil || n < len(errs) && selected(m, errs[n]) {
				list = append(list, m)
			}
		}
	}
	return list
}

// put stores messages in one pipeline and returns the messages that Redis has
// stored.
func (s *Store) put(list []message, remaining *time.Duration) []message {
	seconds := max(1, int64(s.options.Expire/time.Second))
	var compressed []byte // reused, since Send copies or writes it
	executed := s.client.pipeline(remaining, len(list), func(c redigo.Conn, n int) error {
		blob := list[n].envelope.Blob(list[n].i)
		if s.options.Compress {
			compressed = s.compressor.Append(compressed[:0], blob)
			blob = compressed
		}
		return c.Send("SETEX", list[n].to().Hash, seconds, blob)
	})
	var stored []message
	for n, ok := range executed {
		if ok {
			stored = append(stored, list[n])
		}
	}
	return stored
}

// remove deletes messages from Redis. If Redis does not reply, the messages remain
// until they expire.
func (s *Store) remove(list []message, remaining *time.Duration) {
	s.client.pipeline(remaining, len(list), func(c redigo.Conn, n int) error {
		return c.Send("DEL", list[n].to().Hash)
	})
}

// Unwrap returns the inner store.
func (s *Store) Unwrap() savemail.Store { return s.inner }

// Settle calls Settle of the inner store if it is a savemail.Settler.
func (s *Store) Settle(ctx context.Context) {
	if settler, ok := s.inner.(savemail.Settler); ok {
		settler.Settle(ctx)
	}
}

// Close tries to send the queued entries of the stream, and closes the connections
// to Redis and the inner store.
func (s *Store) Close() error {
	if s.stream != nil {
		s.stream.close()
	}
	s.client.close()
	return s.inner.Close()
}
