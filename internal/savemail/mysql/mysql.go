// Package mysql stores mail in a table of MySQL or MariaDB, used as it is: the
// schema is in new_mail.sql, and values are fitted to the columns that are
// really there. A batch is one autocommitted INSERT, or one transaction where
// a single statement would be too large.
package mysql

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
	"goguerrillad/internal/smtp"
)

// Schema is the statement that makes the table, under its default name. The
// store never makes it.
//
//go:embed new_mail.sql
var Schema string

// Options say where mail goes.
type Options struct {
	Hosts          []string // host:port, host (port 3306) or /path/to.sock, in order of preference; at least one
	Spread         bool     // mail goes to all hosts that take it, not to the first of them
	User, Pass, DB string
	TLS            string // TLSOff, TLSPreferred, TLSVerify or TLSSkipVerify; "" is TLSOff
	Table          string // table, or database.table
	Compress       bool   // zlib in the column mail
	MaxMessage     int64  // bytes of the largest message, to warn of a server that cannot take it; 0 = unknown
	// Timeout bounds one Save, as the Committer's does: a third of it, but at
	// most ten seconds, is waited for each answer of the server. 0 = a minute.
	Timeout time.Duration
	Log     *slog.Logger
}

// maxPause is the longest time for which a server that could not be reached is
// not tried again.
const maxPause = time.Second

// idleMost is how many connections to one host are kept for later.
const idleMost = 8

// Store is one table. It holds a connection for each Save or Check that runs
// at a time, and up to idleMost to each host beside, which are kept while they
// last.
type Store struct {
	options    Options
	hosts      []*host
	table      table
	compressor newmail.Compressor
	once       *once
	columns    atomic.Pointer[newmail.Columns] // of the host seen last, nil until the first connection

	life       context.Context // until Close: of what is settled later
	end        context.CancelFunc
	background sync.WaitGroup // one for each host that is ailing, one for refreshLater, and at most laterMost batches that are settled later
	settlers   sync.WaitGroup // the latter alone

	mu     sync.Mutex // guards every host's health as well
	next   int        // hosts chosen so far
	later  int        // batches that are settled later
	idle   []*conn    // at most idleMost for each host
	closed bool

	refreshing bool      // refreshLater's goroutine runs
	refreshed  time.Time // when it ended last

	tried time.Time     // when no host could be reached
	pause time.Duration // from then on, in which failure is what it was
	why   error
}

// New returns the store, which connects when the first Check or Save needs it.
// An error means that the options cannot be used.
func New(o Options) (*Store, error) {
	o.Log = cmp.Or(o.Log, slog.Default())
	o.Timeout = cmp.Or(o.Timeout, time.Minute)
	once := newOnce(o.Log)
	hosts, err := newHosts(o, ours, once)
	if err != nil {
		return nil, err
	}
	s := &Store{options: o, hosts: hosts, table: newTable(o.Table), once: once}
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Fits says whether a recipient can be stored whole: nil, or the refusal. As
// long as the table has not been seen, every recipient fits. After a refusal the
// columns are read again, since no Save may come that does it.
func (s *Store) Fits(address string) *smtp.Reply {
	refusal := s.columns.Load().Fits(address)
	if refusal != nil {
		s.refreshLater()
	}
	return refusal
}

// refreshLater reads the columns again in a goroutine: one at a time, and at most
// once in columnsTime.
func (s *Store) refreshLater() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.refreshing || time.Since(s.refreshed) < columnsTime {
		return
	}
	s.refreshing = true
	s.background.Go(func() {
		s.refresh()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.refreshing, s.refreshed = false, time.Now()
	})
}

// meetTime bounds Meet.
const meetTime = 2 * time.Second

// Meet reads the columns, so that Fits refuses what they cannot hold from the first
// recipient on. It takes 2 s at most. If the database is unavailable, every
// recipient fits, and the next Check reports it.
func (s *Store) Meet() {
	ctx, cancel := context.WithTimeout(s.life, meetTime)
	defer cancel()
	_ = s.Check(ctx)
}

// Check connects if there is no connection, and tries everything that an
// INSERT needs but the row.
func (s *Store) Check(ctx context.Context) error {
	c, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	if err := c.probe(ctx, s); err != nil {
		s.discard(c)
		return fmt.Errorf("%w: %s: %w", savemail.ErrUnavailable, c.host, err)
	}
	s.release(c)
	return nil
}

// Save stores the batch in one transaction, except for envelopes that cannot
// be stored, which are told so.
func (s *Store) Save(ctx context.Context, batch []*envelope.Envelope) []error {
	errs, err := s.save(ctx, batch)
	for i := range batch {
		if i >= len(errs) {
			errs = append(errs, err)
		} else if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

// Settle waits until no outcome is open any more.
func (s *Store) Settle(ctx context.Context) {
	settled := make(chan struct{})
	go func() { // until Close at the latest
		s.settlers.Wait()
		close(settled)
	}()
	select {
	case <-settled:
	case <-ctx.Done():
	}
}

// Close closes the connections. What is not settled yet is logged as unknown.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.background.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.idle {
		c.drop()
	}
	s.idle = nil
	for _, h := range s.hosts {
		if err := h.db.Close(); err != nil {
			return fmt.Errorf("close the connections to %s: %w", h.name, err)
		}
	}
	return nil
}

// warn logs a message once.
func (s *Store) warn(message string, args ...any) { s.once.warn(message, message, args...) }
