package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"goguerrillad/internal/savemail"
)

// Mail goes to the first host that is well, or to all that are, each Save to
// the one with the fewest under way. A host is ailing when it cannot be
// reached, or takes no mail; one goroutine for each that is asks whether it is
// well again, beside the mail: a host that hangs would hold up who asks. And
// one that has not answered for a while is left alone, as long as there is
// another.

const (
	// returnInterval is how often a host that is ailing is tried.
	returnInterval = 3 * time.Second
	// restTime is how long a host is left alone that takes no mail for a reason
	// that trying does not show, such as a full disk.
	restTime = time.Minute
	// hangTime is how long a host may be at one thing before others are preferred.
	hangTime = 2 * time.Second
)

// A turn is somebody's use of a host, from the choice to the end of a Save.
type turn struct{ begun time.Time }

// health is what is known of a host; Store.mu guards it.
type health struct {
	ailing error // why it takes no mail, nil when it does, as far as known
	turns  map[*turn]bool
}

// hangs reports whether the host has been at one thing for too long.
func (h *health) hangs() bool {
	for t := range h.turns {
		if time.Since(t.begun) > hangTime {
			return true
		}
	}
	return false
}

// choose returns the best host that has not been tried, nil when all have
// been; s.mu is held.
func (s *Store) choose(tried []*host) *host {
	var best *host
	for i := range s.hosts {
		if s.options.Spread { // from another one each time, so that equals take turns
			i = (i + s.next) % len(s.hosts)
		}
		h := s.hosts[i]
		if !slices.Contains(tried, h) && (best == nil || s.better(h, best)) {
			best = h
		}
	}
	s.next++
	return best
}

// better reports whether a host is to be preferred to one that comes before it
// in the order of preference.
func (s *Store) better(h, first *host) bool {
	switch {
	case (h.health.ailing == nil) != (first.health.ailing == nil):
		return h.health.ailing == nil
	case h.health.hangs() != first.health.hangs():
		return !h.health.hangs()
	}
	return s.options.Spread && len(h.health.turns) < len(first.health.turns)
}

// enter takes note of a turn; s.mu is held.
func (h *host) enter() *turn {
	t := &turn{time.Now()}
	h.health.turns[t] = true
	return t
}

// leave ends it; s.mu is held.
func (h *host) leave(t *turn) { delete(h.health.turns, t) }

// ail takes note that a host takes no mail, and has somebody look for its
// recovery, not before rest is over; s.mu is held.
func (s *Store) ail(h *host, why error, rest time.Duration) {
	if len(s.hosts) == 1 || h.health.ailing != nil || s.closed {
		return
	}
	h.health.ailing = why
	s.options.Log.Warn("a MySQL server takes no mail, which goes to the others", "host", h.name, "reason", why)
	s.idle = slices.DeleteFunc(s.idle, func(c *conn) bool { // they may hang as well
		if c.host == h {
			c.drop()
		}
		return c.host == h
	})
	s.background.Go(func() { s.recover(h, rest) })
}

// recover asks until a host that is ailing takes mail again.
func (s *Store) recover(h *host, rest time.Duration) {
	for pause := max(rest, returnInterval); ; pause = returnInterval {
		select {
		case <-s.life.Done():
			return
		case <-time.After(pause):
		}
		ctx, cancel := context.WithTimeout(s.life, 3*s.options.answerTime())
		c, err := s.connectTo(ctx, h)
		cancel()
		if err == nil {
			s.mu.Lock()
			h.health.ailing = nil
			s.options.Log.Info("a MySQL server takes mail again", "host", h.name)
			s.keep(c)
			s.mu.Unlock()
			return
		}
	}
}

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
