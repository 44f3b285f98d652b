package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"goguerrillad/internal/savemail"
)

// acquire returns a connection that is alive to the best host, a new one if
// need be. After no host could be reached, it fails at once for up to
// maxPause, so that a crowd of mails does not become a crowd of dials. Whatever
// fails here, nothing of a batch has been sent.
func (s *Store) acquire(ctx context.Context) (*conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var tried []*host
	var errs []error
	for h := s.choose(nil); h != nil; h = s.choose(tried) {
		if c := s.reuse(ctx, h); c != nil {
			return c, nil
		}
		if time.Since(s.tried) < s.pause {
			return nil, s.why
		}
		t := h.enter()
		s.mu.Unlock()
		c, err := s.connectTo(ctx, h)
		s.mu.Lock()
		if err == nil {
			c.turn, s.pause = t, 0
			return c, nil
		}
		h.leave(t)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %s: %w", savemail.ErrUnavailable, h, err)
		}
		s.ail(h, err, 0)
		tried, errs = append(tried, h), append(errs, fmt.Errorf("%s: %w", h, err))
	}
	s.tried, s.why = time.Now(), fmt.Errorf("%w: %w", savemail.ErrUnavailable, errors.Join(errs...))
	s.pause = min(max(2*s.pause, 50*time.Millisecond), maxPause)
	return nil, s.why
}

// reuse returns a connection to a host that was kept and is alive, nil if
// there is none; s.mu is held.
func (s *Store) reuse(ctx context.Context, h *host) *conn {
	for i := len(s.idle) - 1; i >= 0; i-- {
		c := s.idle[i]
		if c.host != h {
			continue
		}
		s.idle = slices.Delete(s.idle, i, i+1)
		if c.alive(ctx) {
			c.turn = h.enter()
			return c
		}
		c.drop()
	}
	return nil
}

// release gives a connection back for the next Save.
func (s *Store) release(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.host.leave(c.turn)
	s.keep(c)
}

// keep keeps a connection, unless its host has as many as Saves may need; s.mu
// is held.
func (s *Store) keep(c *conn) {
	kept := 0
	for _, other := range s.idle {
		if other.host == c.host {
			kept++
		}
	}
	if s.closed || kept == idleMost {
		c.drop()
		return
	}
	s.idle = append(s.idle, c)
}

// discard closes a connection that serves no longer.
func (s *Store) discard(c *conn) {
	c.drop()
	s.mu.Lock()
	defer s.mu.Unlock()
	c.host.leave(c.turn)
}

// abandon is discard for one that was lost in the midst of a Save; a host that
// kept it waiting is not well.
func (s *Store) abandon(c *conn, why error) {
	hung := time.Since(c.turn.begun) >= s.options.answerTime()
	s.discard(c)
	if hung {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ail(c.host, fmt.Errorf("no answer: %w", why), 0)
	}
}
