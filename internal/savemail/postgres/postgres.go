// Package postgres stores messages in a table of PostgreSQL 13 or later. It never changes
// the table (new_mail.postgresql.sql has the schema) and fits values to its columns. A batch is one
// transaction, whose id is known before its COMMIT, so that the server can be asked for
// the outcome if the reply is lost (settle.go).
package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
	"goguerrillad/internal/smtp"
)

// Options configure a Store, a Reader or a Recipients.
type Options struct {
	DSN      string // in libpq's form: a URI or key=value
	Pass     string // used if DSN has no password
	Table    string // table, or schema.table
	Compress bool   // compress the column mail with zlib
	// Timeout bounds one Save; 0 = 1 min. The timeout of one reply of the server is a
	// third of Timeout, at most 10 s.
	Timeout time.Duration
	Log     *slog.Logger
}

const (
	maxIdle    = 8 // idle connections
	maxBackoff = time.Second
)

// A Store stores messages in one table. It has one connection for each running Save or
// Check, and at most maxIdle idle connections.
type Store struct {
	options    Options
	config     *pgx.ConnConfig
	table      table
	compressor newmail.Compressor
	columns    atomic.Pointer[columns] // that were read last, nil until the first connection
	warned     sync.Map                // keys of warnings that were logged
	expiry     expiry                  // used by Expire only

	ctx        context.Context // of the background goroutines; Close cancels it
	cancel     context.CancelFunc
	goroutines sync.WaitGroup // refreshColumns
	settling   *savemail.Settling

	mu         sync.Mutex // guards the fields below
	idle       []*conn
	closed     bool
	refreshing bool // refreshColumns is running
	failedAt   time.Time
	backoff    time.Duration // acquire returns lastErr for this time after failedAt
	lastErr    error
}

// New returns a store, which connects at the first Check or Save. An error means that
// the options are invalid.
func New(o Options) (*Store, error) {
	o.Log = cmp.Or(o.Log, slog.Default())
	o.Timeout = cmp.Or(o.Timeout, time.Minute)
	config, err := parseDSN(o)
	if err != nil {
		return nil, err
	}
	s := &Store{options: o, config: config, table: newTable(o.Table)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.settling = savemail.NewSettling(s.ctx, o.Log, backgroundTime)
	return s, nil
}

// Fits returns nil if the columns can hold the recipient's whole address, else the reply
// that refuses it. Every recipient fits until the columns have been read. A refusal makes
// the store read the columns again: if all recipients are refused, no Save reads them.
func (s *Store) Fits(address string) *smtp.Reply {
	c := s.columns.Load()
	if c == nil {
		return nil
	}
	refusal := c.Fits(address)
	if refusal != nil {
		s.refreshColumns()
	}
	return refusal
}

// refreshColumns reads the columns again in a goroutine, if they are old.
func (s *Store) refreshColumns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.refreshing || time.Since(s.columns.Load().read) < columnsMaxAge {
		return
	}
	s.refreshing = true
	s.goroutines.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, s.replyTimeout())
		defer cancel()
		if c, err := s.acquire(ctx); err == nil { // else the next Save reports the error
			s.finishUse(c, c.readColumns(ctx, s))
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.refreshing = false
	})
}

// warmUpTimeout bounds WarmUp.
const warmUpTimeout = 2 * time.Second

// WarmUp connects and reads the columns, so that Fits works from the first recipient on. If
// the database is unavailable, every recipient fits, and the next Check returns the error.
func (s *Store) WarmUp() {
	ctx, cancel := context.WithTimeout(s.ctx, warmUpTimeout)
	defer cancel()
	_ = s.Check(ctx)
}

// Check runs an INSERT without a row on an idle or a new connection. Without a synchronous
// standby, it closes the idle connections: a Save with a new connection commits no row then,
// so that the table has no row of a message that the sender sends again.
func (s *Store) Check(ctx context.Context) error {
	c, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.replyTimeout())
	defer cancel()
	err = c.tryInsert(ctx, s.table)
	s.finishUse(c, err)
	if errors.Is(err, errNoStandby) {
		s.discardIdle()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", savemail.ErrUnavailable, err)
	}
	return nil
}

// Save stores the batch in one transaction, without the envelopes that do not fit the
// table. It returns savemail.ErrRejected for each of these.
func (s *Store) Save(ctx context.Context, batch []*envelope.Envelope) []error {
	own, err := s.save(ctx, batch)
	return savemail.Outcome(len(batch), err, own...)
}

// Settle waits until every unknown outcome is settled, or ctx is done.
func (s *Store) Settle(ctx context.Context) { s.settling.Settle(ctx) }

// Close closes the connections, and logs the outcomes that are not settled.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.goroutines.Wait()
	s.settling.Settle(context.Background())
	s.expiry.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.idle {
		c.destroy()
	}
	s.idle = nil
	return nil
}

// replyTimeout bounds the wait for one reply of the server.
func (s *Store) replyTimeout() time.Duration { return min(10*time.Second, s.options.Timeout/3) }

// warnOnce logs a warning unless the store has logged it with this key before.
func (s *Store) warnOnce(key, message string, args ...any) {
	if _, logged := s.warned.LoadOrStore(key, true); !logged {
		s.options.Log.Warn(message, args...)
	}
}

var errClosed = errors.New("the store is closed")
