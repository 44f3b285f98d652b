package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"goguerrillad/internal/savemail"
)

// acquire returns an idle or a new connection to the best host. If all hosts have
// failed, it does not dial during a backoff of at most maxBackoff and returns the
// last error, so that not every message causes a dial.
func (s *Store) acquire(ctx context.Context) (*conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var tried []*host
	var errs []error
	for h := s.chooseHost(nil); h != nil; h = s.chooseHost(tried) {
		if c := s.reuseIdle(ctx, h); c != nil {
			return c, nil
		}
		if time.Since(s.failedAt) < s.backoff {
			return nil, s.lastErr
		}
		out := h.checkOut()
		s.mu.Unlock()
		c, err := s.connect(ctx, h)
		s.mu.Lock()
		if err == nil {
			c.checkout, s.backoff = out, 0
			return c, nil
		}
		h.checkIn(out)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %s: %w", savemail.ErrUnavailable, h, err)
		}
		s.markUnhealthy(h, err, 0)
		tried, errs = append(tried, h), append(errs, fmt.Errorf("%s: %w", h, err))
	}
	s.failedAt, s.lastErr = time.Now(), fmt.Errorf("%w: %w", savemail.ErrUnavailable, errors.Join(errs...))
	s.backoff = min(max(2*s.backoff, 50*time.Millisecond), maxBackoff)
	return nil, s.lastErr
}

// reuseIdle checks out an idle connection to the host, and destroys those that
// the server has closed. It returns nil if none is left. s.mu is held.
func (s *Store) reuseIdle(ctx context.Context, h *host) *conn {
	for i := len(s.idle) - 1; i >= 0; i-- {
		c := s.idle[i]
		if c.host != h {
			continue
		}
		s.idle = slices.Delete(s.idle, i, i+1)
		if c.alive(ctx) {
			c.checkout = h.checkOut()
			return c
		}
		c.destroy()
	}
	return nil
}

// release returns a connection to the pool and ends its checkout.
func (s *Store) release(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.host.checkIn(c.checkout)
	s.addIdle(c)
}

// addIdle adds a connection to the pool, or closes it if its host has maxIdle
// idle connections. s.mu is held.
func (s *Store) addIdle(c *conn) {
	n := 0
	for _, other := range s.idle {
		if other.host == c.host {
			n++
		}
	}
	if s.closed || n == maxIdle {
		c.destroy()
		return
	}
	s.idle = append(s.idle, c)
}

// discard closes a connection and ends its checkout.
func (s *Store) discard(c *conn) {
	c.destroy()
	s.mu.Lock()
	defer s.mu.Unlock()
	c.host.checkIn(c.checkout)
}

// discardLost discards a connection that was lost during a Save, and marks the
// host as unhealthy if it did not reply in time.
func (s *Store) discardLost(c *conn, cause error) {
	timedOut := time.Since(c.checkout.since) >= s.options.replyTimeout()
	s.discard(c)
	if timedOut {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.markUnhealthy(c.host, fmt.Errorf("no reply: %w", cause), 0)
	}
}
