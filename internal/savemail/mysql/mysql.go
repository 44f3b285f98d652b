// Package mysql stores messages in a table of MySQL, MariaDB or TiDB. It never
// changes the table (new_mail.sql has the schema) and fits values to its
// columns. A batch is one INSERT in autocommit mode, or one transaction if a
// single statement would be too large.
package mysql

import (
	"cmp"
	"context"
	"errors"
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

// Options configure a Store, a Reader or a Recipients.
type Options struct {
	Hosts          []string // host:port, host (port 3306) or /path/to.sock, in order of preference; at least one
	Spread         bool     // use all healthy hosts, not only the first healthy one
	User, Pass, DB string
	TLS            string // MYSQL_TLS: "N" or "", "preferred", "Y" or "skip-verify"
	Table          string // table, or database.table
	Compress       bool   // compress the column mail with zlib
	MaxMessage     int64  // bytes of the largest message, for warnings about the server's limits; 0 = unknown
	// Timeout bounds one Save; 0 = 1 min. The timeout of one reply of the server
	// is a third of Timeout, at most 10 s.
	Timeout time.Duration
	Log     *slog.Logger
}

// maxBackoff is the longest time without a dial after all hosts have failed.
const maxBackoff = time.Second

// maxIdle bounds the idle connections to one host.
const maxIdle = 8

// A Store stores messages in one table. It has one connection for each running
// Save or Check, and at most maxIdle idle connections to each host.
type Store struct {
	options    Options
	hosts      []*host
	table      table
	compressor newmail.Compressor
	onceLog    *onceLogger
	columns    atomic.Pointer[newmail.Columns] // of the host that was read last; nil until the first connection
	expiry     expiry                          // used by Expire only

	ctx        context.Context // of the background goroutines; Close cancels it
	cancel     context.CancelFunc
	goroutines sync.WaitGroup // one for each unhealthy host, one for refreshColumnsLater
	settling   *savemail.Settling

	mu       sync.Mutex // guards the fields below and each host's health
	rotation int        // calls of chooseHost
	idle     []*conn    // at most maxIdle for each host
	closed   bool

	refreshing bool      // the goroutine of refreshColumnsLater is running
	refreshed  time.Time // end of the last such goroutine

	failedAt time.Time     // when all hosts failed last
	backoff  time.Duration // acquire returns lastErr for this time after failedAt
	lastErr  error
}

// New returns a store, which connects at the first Check or Save. An error
// means that the options are invalid.
func New(o Options) (*Store, error) {
	o.Log = cmp.Or(o.Log, slog.Default())
	o.Timeout = cmp.Or(o.Timeout, time.Minute)
	onceLog := newOnceLogger(o.Log)
	hosts, err := newHosts(o, storeConns, onceLog)
	if err != nil {
		return nil, err
	}
	s := &Store{options: o, hosts: hosts, table: newTable(o.Table), onceLog: onceLog}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.settling = savemail.NewSettling(s.ctx, o.Log, backgroundTime)
	return s, nil
}

// Fits returns nil if the columns can hold the recipient's whole address, else
// the reply that refuses it. Every recipient fits until the columns have been
// read. A refusal makes the store read the columns again: if all recipients are
// refused, no Save reads them.
func (s *Store) Fits(address string) *smtp.Reply {
	refusal := s.columns.Load().Fits(address)
	if refusal != nil {
		s.refreshColumnsLater()
	}
	return refusal
}

// refreshColumnsLater reads the columns again in a goroutine, of which one runs
// at a time. It does nothing if the last one ended less than columnsMaxAge ago.
func (s *Store) refreshColumnsLater() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.refreshing || time.Since(s.refreshed) < columnsMaxAge {
		return
	}
	s.refreshing = true
	s.goroutines.Go(func() {
		s.refreshColumns()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.refreshing, s.refreshed = false, time.Now()
	})
}

// warmUpTimeout bounds WarmUp.
const warmUpTimeout = 2 * time.Second

// WarmUp connects and reads the columns, so that Fits works from the first
// recipient on. It takes at most 2 s. If the database is unavailable, every
// recipient fits, and the next Check returns the error.
func (s *Store) WarmUp() {
	ctx, cancel := context.WithTimeout(s.ctx, warmUpTimeout)
	defer cancel()
	_ = s.Check(ctx)
}

// Check runs an INSERT without a row on an idle or a new connection.
func (s *Store) Check(ctx context.Context) error {
	c, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	if err := c.tryInsert(ctx, s); err != nil {
		s.discard(c)
		return fmt.Errorf("%w: %s: %w", savemail.ErrUnavailable, c.host, err)
	}
	s.release(c)
	return nil
}

// Save stores the batch in one transaction, without the envelopes that do not
// fit the table or a packet. It returns savemail.ErrRejected for each of these.
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
	var errs []error
	for _, h := range s.hosts {
		if err := h.db.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close the connections to %s: %w", h.name, err))
		}
	}
	return errors.Join(errs...)
}

// warnOnce logs a warning unless the store has logged this message before.
func (s *Store) warnOnce(message string, args ...any) { s.onceLog.warn(message, message, args...) }
