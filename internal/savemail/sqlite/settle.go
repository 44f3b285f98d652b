package sqlite

import (
	"context"
	"fmt"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
)

// The outcome of a COMMIT that failed is known once the file is durable again
// (durable.go): then the frames of the transaction are either in the WAL for good,
// or cut off. A transaction is all or nothing, so one hash stands for its batch.

const (
	// settleTime is how long a Save without a deadline waits for its outcome.
	settleTime = 10 * time.Second
	// laterPause is between two attempts to settle batches later.
	laterPause = time.Second
	// laterMost is how many batches are settled after their senders were answered.
	laterMost = 100
)

// settle returns nil if the batch is stored after all, and ErrUnavailable if it
// is not. If that cannot be found out in a third of the time that is left, it
// returns ErrUnknown, and the outcome is logged later.
func (s *Store) settle(ctx context.Context, batch []*envelope.Envelope, lost *commitError) error {
	s.options.Log.Error("SQLite commit failed", "error", lost)
	hashes := savemail.Hashes(batch)
	limit := settleTime
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline) / 3
	}
	settling, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := s.ready(settling)
		var stored bool
		if err == nil {
			stored, err = s.file.has(settling, s.options.Table, hashes[0])
		}
		switch {
		case err == nil && stored:
			return nil
		case err == nil:
			return fmt.Errorf("%w: %w", savemail.ErrUnavailable, lost.error)
		}
		select {
		case <-settling.Done():
			s.settleLater(hashes)
			return fmt.Errorf("%w: %w; %w", savemail.ErrUnknown, lost.error, err)
		case <-time.After(max(s.pause, minPause)):
		}
	}
}

// has reports whether a row has the hash.
func (f *file) has(ctx context.Context, table, hash string) (found bool, err error) {
	err = f.conn.QueryRowContext(ctx, "SELECT EXISTS(SELECT 1 FROM "+quote(table)+` WHERE "hash"=?)`, hash).Scan(&found)
	if err != nil {
		return false, fmt.Errorf("look for the message: %w", err)
	}
	return found, nil
}

// settleLater has the outcome of a batch logged once it is known; s.mu is held.
func (s *Store) settleLater(hashes []string) {
	if len(s.unsettled) == laterMost || s.life.Err() != nil {
		savemail.LogOutcome(s.options.Log, savemail.ErrUnknown, "file", s.options.File, "hashes", hashes)
		return
	}
	s.unsettled = append(s.unsettled, hashes)
	if s.settled == nil {
		s.settled = make(chan struct{})
		go s.resolveAll(s.settled) // one at a time
	}
}

// resolveAll opens the file until nothing is unsettled, or until Close.
func (s *Store) resolveAll(done chan<- struct{}) {
	defer close(done)
	for {
		select {
		case <-s.life.Done():
		case <-time.After(laterPause):
		}
		s.mu.Lock()
		if s.life.Err() == nil && s.ready(s.life) == nil {
			s.resolve(s.life)
		}
		if s.life.Err() != nil {
			for _, hashes := range s.unsettled {
				savemail.LogOutcome(s.options.Log, savemail.ErrUnknown, "file", s.options.File, "hashes", hashes)
			}
			s.unsettled = nil
		}
		over := len(s.unsettled) == 0
		if over {
			s.settled = nil
		}
		s.mu.Unlock()
		if over {
			return
		}
	}
}

// resolve logs what became of the unsettled batches; s.mu is held.
func (s *Store) resolve(ctx context.Context) {
	for len(s.unsettled) > 0 {
		hashes := s.unsettled[0]
		stored, err := s.file.has(ctx, s.options.Table, hashes[0])
		if err != nil {
			return // again at the next opportunity
		}
		outcome := savemail.ErrUnavailable
		if stored {
			outcome = nil
		}
		savemail.LogOutcome(s.options.Log, outcome, "file", s.options.File, "hashes", hashes)
		s.unsettled = s.unsettled[1:]
	}
}

// Settle waits until no outcome is unknown any more, or until ctx is done.
func (s *Store) Settle(ctx context.Context) {
	s.mu.Lock()
	settled := s.settled
	s.mu.Unlock()
	if settled == nil {
		return
	}
	select {
	case <-settled:
	case <-ctx.Done():
	}
}
