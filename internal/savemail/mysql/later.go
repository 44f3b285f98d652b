package mysql

import (
	"context"
	"time"

	"goguerrillad/internal/savemail"
)

// Bounds of what goes on after the client had its 451.
const (
	laterTime = time.Hour // for one batch
	laterMost = 100       // batches at a time
)

// resolveLater goes on asking after the client got its 451, so that an operator
// finds in the log what became of each message. A message that is not there may
// have been deleted by a consumer.
func (s *Store) resolveLater(h *host, m mark, hashes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.later == laterMost {
		savemail.LogOutcome(s.options.Log, savemail.ErrUnknown, "host", h.name, "hashes", hashes)
		return
	}
	s.later++
	s.settlers.Add(1)
	s.background.Go(func() {
		defer s.settlers.Done()
		ctx, cancel := context.WithTimeout(s.life, laterTime)
		defer cancel()
		found, err := s.resolve(ctx, h, m, hashes[0])
		switch found {
		case stored:
			savemail.LogOutcome(s.options.Log, nil, "host", h.name, "hashes", hashes)
		case absent:
			savemail.LogOutcome(s.options.Log, savemail.ErrUnavailable, "host", h.name, "hashes", hashes)
		default:
			savemail.LogOutcome(s.options.Log, savemail.ErrUnknown, "host", h.name, "hashes", hashes, "error", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.later--
	})
}
