package mysql

import (
	"context"
	"errors"
	"fmt"
	"time"

	"goguerrillad/internal/savemail"
)

// Mail goes to one host at a time: the first, until it dies, hangs or no longer
// takes mail; then the next that does, and back as soon as one before it is
// well again. Whether a host is well is asked by one goroutine, beside the
// mail: a host that hangs would hold up who asks.

// returnInterval is how often a better host is tried.
const returnInterval = 3 * time.Second

// connect connects to the host that mail goes to, or to the next that takes
// it. Whatever fails here, nothing of a batch has been sent.
func (s *Store) connect(ctx context.Context) (*conn, error) {
	s.mu.Lock()
	rank := s.rank
	s.mu.Unlock()
	var errs []error
	for i := range s.hosts {
		h := s.hosts[(rank+i)%len(s.hosts)]
		c, err := s.connectTo(ctx, h)
		if err == nil {
			if i > 0 {
				s.move(h, errs[0])
			}
			return c, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", h.name, err))
	}
	return nil, fmt.Errorf("%w: %w", savemail.ErrUnavailable, errors.Join(errs...))
}

// move sends mail to another host from now on, because of what is wrong with
// the one before, and has somebody look for its recovery.
func (s *Store) move(h host, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rank == h.rank || s.closed {
		return // another writer was first
	}
	s.options.Log.Warn("mail goes to another MySQL server", "host", h.name, "before", s.hosts[s.rank].name, "reason", why)
	s.rank = h.rank
	if h.rank > 0 && !s.returning {
		s.returning = true
		s.background.Go(s.comeBack)
	}
}

// comeBack moves mail back to the first host, in as many steps as it takes.
func (s *Store) comeBack() {
	tick := time.NewTicker(returnInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.life.Done():
			return
		case <-tick.C:
		}
		if s.stepBack() {
			return
		}
	}
}

// stepBack tries the hosts before the current one, and reports whether mail
// goes to the first.
func (s *Store) stepBack() (done bool) {
	s.mu.Lock()
	rank := s.rank
	s.mu.Unlock()
	for _, h := range s.hosts[:rank] {
		ctx, cancel := context.WithTimeout(s.life, 3*s.options.answerTime())
		c, err := s.connectTo(ctx, h)
		cancel()
		if err != nil {
			continue
		}
		s.release(c)
		s.mu.Lock()
		s.options.Log.Info("mail goes to a better MySQL server again", "host", h.name, "before", s.hosts[s.rank].name)
		s.rank = h.rank
		s.mu.Unlock()
		break
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.returning = s.rank > 0
	return !s.returning
}
