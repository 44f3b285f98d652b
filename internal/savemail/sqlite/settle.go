package sqlite

import (
	"context"
	"fmt"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
)

// The outcome of a failed COMMIT is known when the file is durable again
// (durable.go): the frames of the transaction are then either in the WAL
// permanently or cut off. A transaction is stored completely or not at all, so
// one hash decides for its batch.

const (
	// settleTimeout bounds the search for an outcome in a Save without a deadline.
	settleTimeout = 10 * time.Second
	// settleInterval is between two attempts to settle batches after their replies.
	settleInterval = time.Second
	// maxUnsettled is how many batches can wait to be settled after their replies.
	maxUnsettled = 100
)

// settle finds out the outcome of a batch whose COMMIT failed. It returns nil
// if the batch is stored, and ErrUnavailable if it is not. If a third of the
// remaining time does not suffice, it returns ErrUnknown, and the outcome is
// logged later.
func (s *Store) settle(ctx context.Context, batch []*envelope.Envelope, commitErr *commitError) error {
	s.options.Log.Error("SQLite commit failed", "error", commitErr)
	hashes := savemail.Hashes(batch)
	limit := settleTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline) / 3
	}
	settling, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := s.tryOpen(settling)
		var stored bool
		if err == nil {
			stored, err = s.database.contains(settling, s.options.Table, hashes[0])
		}
		switch {
		case err == nil && stored:
			return nil
		case err == nil:
			return fmt.Errorf("%w: %w", savemail.ErrUnavailable, commitErr.error)
		}
		select {
		case <-settling.Done():
			s.settleLater(hashes)
			return fmt.Errorf("%w: %w; %w", savemail.ErrUnknown, commitErr.error, err)
		case <-time.After(max(s.backoff, minBackoff)):
		}
	}
}

// contains reports whether a row has the hash.
func (d *database) contains(ctx context.Context, table, hash string) (found bool, err error) {
	err = d.conn.QueryRowContext(ctx, "SELECT EXISTS(SELECT 1 FROM "+quote(table)+` WHERE "hash"=?)`, hash).Scan(&found)
	if err != nil {
		return false, fmt.Errorf("look for the message: %w", err)
	}
	return found, nil
}

// settleLater arranges that the outcome of a batch is logged when it is known. The
// caller holds s.mu.
func (s *Store) settleLater(hashes []string) {
	if len(s.unsettled) == maxUnsettled || s.ctx.Err() != nil {
		savemail.LogOutcome(s.options.Log, savemail.ErrUnknown, "file", s.options.File, "hashes", hashes)
		return
	}
	s.unsettled = append(s.unsettled, hashes)
	if s.settled == nil {
		s.settled = make(chan struct{})
		go s.settleInBackground(s.settled) // one goroutine at most
	}
}

// settleInBackground opens the file until no batch is unsettled, or until Close.
func (s *Store) settleInBackground(done chan<- struct{}) {
	defer close(done)
	for {
		select {
		case <-s.ctx.Done():
		case <-time.After(settleInterval):
		}
		s.mu.Lock()
		if s.ctx.Err() == nil && s.tryOpen(s.ctx) == nil {
			s.logOutcomes(s.ctx)
		}
		if s.ctx.Err() != nil {
			for _, hashes := range s.unsettled {
				savemail.LogOutcome(s.options.Log, savemail.ErrUnknown, "file", s.options.File, "hashes", hashes)
			}
			s.unsettled = nil
		}
		finished := len(s.unsettled) == 0
		if finished {
			s.settled = nil
		}
		s.mu.Unlock()
		if finished {
			return
		}
	}
}

// logOutcomes looks up the unsettled batches in the open file and logs their
// outcomes. The caller holds s.mu.
func (s *Store) logOutcomes(ctx context.Context) {
	for len(s.unsettled) > 0 {
		hashes := s.unsettled[0]
		stored, err := s.database.contains(ctx, s.options.Table, hashes[0])
		if err != nil {
			return // settleInBackground tries again
		}
		outcome := savemail.ErrUnavailable
		if stored {
			outcome = nil
		}
		savemail.LogOutcome(s.options.Log, outcome, "file", s.options.File, "hashes", hashes)
		s.unsettled = s.unsettled[1:]
	}
}

// Settle waits until no batch is unsettled, or until ctx is done.
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
