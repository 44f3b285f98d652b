// Package sqlite stores mail in a file of SQLite, durable at each commit: WAL
// with synchronous=FULL, so that one fdatasync(2) makes a batch safe.
package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
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

// maxPause is the longest time for which a file that could not be opened is
// not tried again.
const maxPause = time.Second

// Store is one file. It writes through a single connection: SQLite has one
// writer at a time, so give the Committer one writer.
type Store struct {
	options    Options
	compressor savemail.Compressor

	mu      sync.Mutex
	file    *file  // nil until it could be opened, and after trouble
	scratch []byte // one compressed mail, reused

	tried time.Time     // when it could not be opened
	pause time.Duration // from then on, in which failure is what it was
	why   error
}

// New returns the store. The file is opened by the first Check or Save, and
// again whenever it has to be: a disk that is missing at the start may come
// later.
func New(o Options) *Store {
	o.Log = cmp.Or(o.Log, slog.Default())
	return &Store{options: o}
}

// Save stores the batch in one transaction.
func (s *Store) Save(ctx context.Context, batch []*envelope.Envelope) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.tried) < s.pause {
		return savemail.Outcome(len(batch), s.why)
	}
	err := s.open(ctx)
	if err == nil {
		err = s.save(ctx, batch)
	}
	return savemail.Outcome(len(batch), err)
}

// Check opens the file if it is not open.
func (s *Store) Check(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open(ctx)
}

// open makes sure that s.file is what is at the path now. Otherwise mail would
// go to a file that was deleted or replaced, and be lost.
func (s *Store) open(ctx context.Context) error {
	if s.file != nil {
		if s.inPlace() {
			return nil
		}
		s.options.Log.Warn("the SQLite file was moved, replaced or deleted: opening it again", "file", s.options.File)
		s.file.detach(ctx)
		s.drop()
	}
	f, err := openFile(ctx, s.options)
	switch {
	case err != nil && ctx.Err() != nil: // which says nothing about the file
		return fmt.Errorf("%w: %s: %w", savemail.ErrUnavailable, s.options.File, err)
	case err != nil:
		s.tried = time.Now()
		s.pause = min(max(2*s.pause, 50*time.Millisecond), maxPause)
		s.why = fmt.Errorf("%w: %s: %w", savemail.ErrUnavailable, s.options.File, err)
		return s.why
	}
	s.file, s.pause = f, 0
	return nil
}

// inPlace reports whether the open file is still at its path.
func (s *Store) inPlace() bool {
	now, err := os.Stat(s.options.File)
	return err == nil && os.SameFile(now, s.file.info)
}

// drop closes the file, to be opened again by the next who needs it.
func (s *Store) drop() {
	if s.file == nil {
		return
	}
	if err := s.file.close(); err != nil {
		s.options.Log.Warn("the SQLite file does not close cleanly", "file", s.options.File, "error", err)
	}
	s.file = nil
}

// Close closes the file; what the WAL holds is moved into it.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	if !s.inPlace() {
		s.file.detach(context.Background())
	}
	err := s.file.close()
	s.file = nil
	return err
}
