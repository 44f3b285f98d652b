// Package sqlite stores mail in a file of SQLite, durable at each commit: WAL
// with synchronous=FULL, so that one fdatasync(2) makes a batch safe.
package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	lib "modernc.org/sqlite/lib"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// Options say where mail goes.
type Options struct {
	File     string // path; created with its directory and its table
	Table    string // letters, digits, _ and $
	Compress bool   // zlib in the column mail
	Log      *slog.Logger
}

// busyTimeout is how long another process may hold the file, unless the
// context of a Save ends first.
const busyTimeout = 5 * time.Second

// A file that could not be opened is not tried again for a time between these: an
// attempt may write all of the WAL.
const (
	minPause = 50 * time.Millisecond
	maxPause = 5 * time.Second
)

// Store is one file. It writes through a single connection: SQLite has one
// writer at a time, so give the Committer one writer.
type Store struct {
	options    Options
	compressor newmail.Compressor

	mu      sync.Mutex
	readers *Recipients // nil for none
	file    *file       // nil until it could be opened, and after trouble
	suspect bool        // something has failed since all of the file was durable
	opened  bool        // what is at the path now was open before
	scratch []byte      // one compressed mail, reused

	tried time.Time     // when it could not be opened
	pause time.Duration // from then on, in which failure is what it was
	why   error

	unsettled [][]string      // hashes of batches whose outcome is unknown
	settled   chan struct{}   // closed when there are none any more; nil while there are none
	life      context.Context // until Close
	end       context.CancelFunc
}

// New returns the store. The file is opened by the first Check or Save, and
// again whenever it has to be: a disk that is missing at the start may come
// later.
func New(o Options) *Store {
	o.Log = cmp.Or(o.Log, slog.Default())
	s := &Store{options: o}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// Share has the readers of the file close it while the store opens or closes it:
// SQLite recovers the WAL, and moves all of it into the file, only if no other
// connection is open. For the readers, the store creates a file that is missing.
func (s *Store) Share(r *Recipients) {
	s.mu.Lock()
	s.readers = r
	s.mu.Unlock()
	r.mu.Lock() // never both: the store waits for the readers
	r.create = s.create
	r.mu.Unlock()
}

// create opens the file, or creates it where it is missing. It fails after Close.
func (s *Store) create(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		return errors.New("the store is closed")
	}
	return s.ready(ctx)
}

// Save stores the batch in one transaction. When the outcome of its COMMIT is
// unknown, Save opens the file again and looks for the batch, for up to a third
// of the time that is left.
func (s *Store) Save(ctx context.Context, batch []*envelope.Envelope) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.ready(ctx)
	if err == nil {
		err = s.save(ctx, batch)
	}
	if lost, ok := errors.AsType[*commitError](err); ok {
		err = s.settle(ctx, batch, lost)
	}
	return savemail.Outcome(len(batch), err)
}

// Check opens the file if it is not open.
func (s *Store) Check(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open(ctx)
}

// ready is open, but fails at once for a while after it has failed.
func (s *Store) ready(ctx context.Context) error {
	if time.Since(s.tried) < s.pause {
		return s.why
	}
	return s.open(ctx)
}

// open makes sure that s.file is what is at the path now, and that all of it is
// durable. Otherwise messages would go to a file that was deleted or replaced, or
// behind a hole in its WAL, and be lost.
func (s *Store) open(ctx context.Context) error {
	failed := s.file != nil && s.file.checkpointer.err() != nil
	if s.file != nil && !failed && s.inPlace() {
		return nil
	}
	if s.readers != nil {
		s.readers.leave()
		defer s.readers.comeBack()
	}
	if s.file != nil {
		if failed {
			s.suspect = true
		} else {
			s.options.Log.Warn("the SQLite file, its -wal or its -shm was moved, replaced or deleted: opening it again", "file", s.options.File)
			s.file.detach(ctx, s.options.Log)
			s.opened = false
		}
		s.drop()
	}
	f, err := openFile(ctx, s.options, s.suspect && !s.opened, s.suspect)
	if err != nil {
		err = fmt.Errorf("%w: %s: %w", savemail.ErrUnavailable, s.options.File, err)
		if ctx.Err() == nil { // else it says nothing about the file
			s.tried, s.why = time.Now(), err
			s.pause = min(max(2*s.pause, minPause), maxPause)
			s.suspect = s.suspect || primary(err) != lib.SQLITE_BUSY
		}
		return err
	}
	s.file, s.suspect, s.opened, s.pause = f, false, true, 0
	s.resolve(ctx)
	return nil
}

// inPlace reports whether the open file is still at its path, with its WAL and its
// wal-index.
func (s *Store) inPlace() bool {
	for _, p := range s.file.parts {
		if now, err := os.Stat(p.path); err != nil || !os.SameFile(now, p.info) {
			return false
		}
	}
	return true
}

// drop closes the file, to be opened again by the next who needs it. A WAL that
// may have a hole stays.
func (s *Store) drop() {
	if err := s.file.close(s.suspect); err != nil {
		s.options.Log.Warn("the SQLite file does not close cleanly", "file", s.options.File, "error", err)
	}
	s.file = nil
}

// Close closes the file; what the WAL holds is moved into it.
func (s *Store) Close() error {
	s.end()
	s.Settle(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	if s.readers != nil {
		s.readers.leave()
		defer s.readers.comeBack()
	}
	if s.file.checkpointer.err() != nil {
		s.suspect = true
	}
	if !s.inPlace() {
		s.file.detach(context.Background(), s.options.Log)
	}
	err := s.file.close(s.suspect)
	s.file = nil
	return err
}
