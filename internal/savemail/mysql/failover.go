package mysql

import (
	"context"
	"slices"
	"time"
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
	s.background.Go(func() { s.attend(h, rest) })
}

// attend asks until a host that is ailing takes mail again.
func (s *Store) attend(h *host, rest time.Duration) {
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
