package mysql

import (
	"context"
	"time"

	"goguerrillad/internal/savemail"
)

// Bounds of settling after the daemon has replied 451.
const (
	backgroundTime = time.Hour // for one batch
	maxBackground  = 100       // batches
)

// settleInBackground settles a batch after the daemon has replied 451, and logs
// the outcome. A batch that is absent may also have been stored, and then deleted
// by a consumer.
func (s *Store) settleInBackground(h *host, session sessionID, hashes []string) {
	logOutcome := func(outcome error, args ...any) {
		savemail.LogOutcome(s.options.Log, outcome, append([]any{"host", h.name, "hashes", hashes}, args...)...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.settleCount == maxBackground {
		logOutcome(savemail.ErrUnknown)
		return
	}
	s.settleCount++
	s.settles.Add(1)
	s.goroutines.Go(func() {
		defer s.settles.Done()
		ctx, cancel := context.WithTimeout(s.ctx, backgroundTime)
		defer cancel()
		state, err := s.findOutcome(ctx, h, session, hashes[0])
		switch state {
		case stored:
			logOutcome(nil)
		case absent:
			logOutcome(savemail.ErrUnavailable)
		default:
			logOutcome(savemail.ErrUnknown, "error", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.settleCount--
	})
}
