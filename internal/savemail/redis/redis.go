// Package redis puts messages into Redis, each under the hash of its row: as
// copies of what a store has committed, or in place of the column mail, the
// way of 2012. What Redis does never decides on the outcome of a mail, and it
// costs a Save a second at most.
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

// Options say where Redis is and what is kept there.
type Options struct {
	Host string // host:port or /path/to.sock
	Pass string // "" = none is asked for
	DB   int    // number of the database
	// InPlace: the message is in Redis in place of the column mail, unless
	// Redis does not take it. Otherwise Redis gets a copy.
	InPlace  bool
	Expire   time.Duration // how long a message stays, in whole seconds, at least one
	Compress bool          // zlib (RFC 1950), as in the column mail
	// Stream is the key of a stream that gets an entry for each row which is
	// committed, "" for none; it keeps about StreamMax of them.
	Stream    string
	StreamMax int64
	Log       *slog.Logger
}

// patience is the time for which one Save may wait for Redis, in all.
const patience = time.Second

// Store is a store with Redis beside it. It holds a connection for each Save
// that runs at a time, and one goroutine, with a stream two.
type Store struct {
	inner      savemail.Store
	options    Options
	client     *client
	stream     *stream // nil without one
	compressor newmail.Compressor
}

// New puts Redis beside a store, and begins to connect. The result is a
// savemail.Checker if the store is one, and closes it.
func New(inner savemail.Store, o Options) savemail.Store {
	o.Log = cmp.Or(o.Log, slog.Default())
	if o.InPlace {
		o.Log.Warn("REDIS_MODE=store: a 250 does not promise more than Redis does, which loses the message when it fails, and when its time is up",
			"host", o.Host, "expire", o.Expire)
	}
	s := &Store{inner: inner, options: o, client: newClient(o)}
	if o.Stream != "" {
		s.stream = newStream(o, s.client)
	}
	if k, ok := inner.(savemail.Checker); ok {
		return struct {
			*Store
			savemail.Checker
		}{s, k}
	}
	return s
}

// Save has the store save the batch. Before that or after it, the messages go
// to Redis; the stream is told of them in the background.
func (s *Store) Save(ctx context.Context, batch []*envelope.Envelope) []error {
	errs := s.save(ctx, batch)
	if s.stream != nil {
		s.stream.tell(batch, errs)
	}
	return errs
}

func (s *Store) save(ctx context.Context, batch []*envelope.Envelope) []error {
	for _, e := range batch {
		for i := range e.To {
			e.To[i].InRedis = false
		}
	}
	left := patience
	if !s.options.InPlace {
		errs := s.inner.Save(ctx, batch)
		s.put(messages(batch, errs, func(_ message, err error) bool { return err == nil }), &left)
		return errs
	}
	for _, m := range s.put(messages(batch, nil, nil), &left) {
		m.to().InRedis = true
	}
	errs := s.inner.Save(ctx, batch)
	// Where the outcome is unknown, there may be a row that refers to it.
	s.remove(messages(batch, errs, func(m message, err error) bool {
		return m.to().InRedis && err != nil && !errors.Is(err, savemail.ErrUnknown)
	}), &left)
	return errs
}

// A message is one recipient's of an envelope.
type message struct {
	envelope *envelope.Envelope
	i        int
}

func (m message) to() *envelope.Recipient { return &m.envelope.To[m.i] }

// messages returns those of a batch that are wanted, given the outcomes of
// their envelopes; all without a function.
func messages(batch []*envelope.Envelope, errs []error, wanted func(message, error) bool) []message {
	var list []message
	for n, e := range batch {
		for i := range e.To {
			m := message{e, i}
			if wanted == nil || n < len(errs) && wanted(m, errs[n]) {
				list = append(list, m)
			}
		}
	}
	return list
}

// put stores messages in one pipeline, and returns those that Redis has taken.
func (s *Store) put(list []message, left *time.Duration) []message {
	seconds := max(1, int64(s.options.Expire/time.Second))
	var compressed []byte // reused: what is sent has left it
	taken := s.client.pipeline(left, len(list), func(c redigo.Conn, n int) error {
		blob := list[n].envelope.Blob(list[n].i)
		if s.options.Compress {
			compressed = s.compressor.Append(compressed[:0], blob)
			blob = compressed
		}
		return c.Send("SETEX", list[n].to().Hash, seconds, blob)
	})
	var done []message
	for n, ok := range taken {
		if ok {
			done = append(done, list[n])
		}
	}
	return done
}

// remove takes messages out again. What stays because Redis does not answer
// goes when its time is up.
func (s *Store) remove(list []message, left *time.Duration) {
	s.client.pipeline(left, len(list), func(c redigo.Conn, n int) error {
		return c.Send("DEL", list[n].to().Hash)
	})
}

// Settle has the store settle what is open, if it does such things.
func (s *Store) Settle(ctx context.Context) {
	if settler, ok := s.inner.(savemail.Settler); ok {
		settler.Settle(ctx)
	}
}

// Close closes the store and the connections to Redis.
func (s *Store) Close() error {
	if s.stream != nil {
		s.stream.close()
	}
	s.client.close()
	return s.inner.Close()
}
