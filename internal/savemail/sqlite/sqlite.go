// Package sqlite stores messages in a file of SQLite. With the WAL and
// synchronous=FULL, one fdatasync(2) makes a batch durable at its commit.
package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	lib "modernc.org/sqlite/lib"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// Options configure a Store, a Reader or Recipients.
type Options struct {
	File     string       // path; a Store creates the file, its directory and its table
	Table    string       // letters, digits, _ and $
	Compress bool         // the column mail holds zlib (RFC 1950)
	Log      *slog.Logger // slog.Default() if nil
}

// busyTimeout is how long a connection waits for a lock of another process. A
// Save whose context ends first stops waiting then.
const busyTimeout = 5 * time.Second

// After a failed open the store waits before it tries again, since an attempt may
// write the whole WAL. The wait doubles with each failure.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// A Store writes to one database file through a single connection. SQLite allows
// one writer at a time, so the Committer should have one writer as well.
type Store struct {
	options    Options
	compressor newmail.Compressor

	mu           sync.Mutex
	recipients   *Recipients // nil without a recipient query
	database     *database   // nil before the first open and after a failure
	suspect      bool        // an operation has failed since the file was made durable
	openedBefore bool        // the file that is at the path now was open before
	scratch      []byte      // holds one compressed message, reused
	args         []any       // of one INSERT, reused

	failedAt time.Time     // when the last open failed
	backoff  time.Duration // after failedAt, while openErr is returned
	openErr  error

	freeRead  time.Time    // when Free counted freePages last
	freePages atomic.Int64 // bytes of the free pages in the file

	unsettled [][]string      // hashes of the batches whose outcome is unknown
	settled   chan struct{}   // closed when unsettled becomes empty; nil while it is empty
	ctx       context.Context // until Close
	cancel    context.CancelFunc
}

// New returns a store and does not open the file. The first Check or Save opens
// it, so a disk may be mounted after the start.
func New(o Options) *Store {
	o.Log = cmp.Or(o.Log, slog.Default())
	s := &Store{options: o}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Share makes the store close the connections of r while it opens or closes the
// file: SQLite recovers the WAL, and copies all of it into the file, only if no
// other connection is open. It also lets r create a missing file.
func (s *Store) Share(r *Recipients) {
	s.mu.Lock()
	s.recipients = r
	s.mu.Unlock()
	r.mu.Lock() // after s.mu is released: the store holds s.mu while it waits for queries
	r.createFile = s.createFile
	r.mu.Unlock()
}

// createFile opens the file and creates it if it is missing. It fails after Close.
func (s *Store) createFile(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return errors.New("the store is closed")
	}
	return s.tryOpen(ctx)
}

// Save stores the batch in one transaction. If the outcome of its COMMIT is
// unknown, Save opens the file again and looks for the batch, for at most a third
// of the remaining time.
func (s *Store) Save(ctx context.Context, batch []*envelope.Envelope) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.tryOpen(ctx)
	if err == nil {
		err = s.save(ctx, batch)
	}
	if commitErr, ok := errors.AsType[*commitError](err); ok {
		err = s.settle(ctx, batch, commitErr)
	}
	return savemail.Outcome(len(batch), err)
}

// Check opens the file if it is not open.
func (s *Store) Check(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ensureOpen(ctx)
}

// tryOpen calls ensureOpen, or returns the error of the last attempt during the
// backoff.
func (s *Store) tryOpen(ctx context.Context) error {
	if time.Since(s.failedAt) < s.backoff {
		return s.openErr
	}
	return s.ensureOpen(ctx)
}

// ensureOpen makes sure that s.database is the file that is at the path now, and
// that all of the file is durable. Otherwise messages could go to a file that was
// deleted or replaced, or follow a hole in its WAL, and be lost.
func (s *Store) ensureOpen(ctx context.Context) error {
	failed := s.database != nil && s.database.checkpointer.err() != nil
	if s.database != nil && !failed && s.inPlace() {
		return nil
	}
	if s.recipients != nil {
		s.recipients.suspend()
		defer s.recipients.resume()
	}
	if s.database != nil {
		if failed {
			s.suspect = true
		} else {
			s.options.Log.Warn("SQLite file, -wal or -shm moved, replaced or deleted, reopening", "file", s.options.File)
			s.database.completeMoved(ctx, s.options.Log)
			s.openedBefore = false
		}
		s.closeDatabase()
	}
	d, err := openDatabase(ctx, s.options, s.suspect && !s.openedBefore, s.suspect)
	if err != nil {
		err = fmt.Errorf("%w: %s: %w", savemail.ErrUnavailable, s.options.File, err)
		if ctx.Err() == nil { // otherwise the error is not about the file
			s.failedAt, s.openErr = time.Now(), err
			s.backoff = min(max(2*s.backoff, minBackoff), maxBackoff)
			s.suspect = s.suspect || primary(err) != lib.SQLITE_BUSY
		}
		return err
	}
	s.database, s.suspect, s.openedBefore, s.backoff = d, false, true, 0
	s.logOutcomes(ctx)
	return nil
}

// inPlace reports whether the open database file, its WAL and its wal-index are
// still at their paths.
func (s *Store) inPlace() bool {
	for _, f := range s.database.files {
		if now, err := os.Stat(f.path); err != nil || !os.SameFile(now, f.info) {
			return false
		}
	}
	return true
}

// closeDatabase closes the file; the next ensureOpen opens it again. A WAL that
// may have a hole stays.
func (s *Store) closeDatabase() {
	if err := s.database.close(s.suspect); err != nil {
		s.options.Log.Warn("cannot close the SQLite file", "file", s.options.File, "error", err)
	}
	s.database = nil
}

// Close copies the content of the WAL into the file and closes the file. After a
// failure it keeps the WAL, which the next open recovers.
func (s *Store) Close() error {
	s.cancel()
	s.Settle(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.database == nil {
		return nil
	}
	if s.recipients != nil {
		s.recipients.suspend()
		defer s.recipients.resume()
	}
	if s.database.checkpointer.err() != nil {
		s.suspect = true
	}
	if !s.inPlace() {
		s.database.completeMoved(context.Background(), s.options.Log)
	}
	err := s.database.close(s.suspect)
	s.database = nil
	return err
}
