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
// the outcome of its messages. An absent message may have been stored, and then
// deleted by a consumer.
func (s *Store) settleInBackground(h *host, session sessionID, hashes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.settleCount == maxBackground {
		savemail.LogOutcome(s.options.Log, savemail.ErrUnknown, "host", h.name, "hashes", hashes)
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
			savemail.LogOutcome(s.options.Log, nil, "host", h.name, "hashes", hashes)
		case absent:
			savemail.LogOutcome(s.options.Log, savemail.ErrUnavailable, "host", h.name, "hashes", hashes)
		default:
			savemail.LogOutcome(s.options.Log, savemail.ErrUnknown, "host", h.name, "hashes", hashes, "error", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.settleCount--
	})
}
