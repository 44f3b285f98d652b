package mysql

import (
	"context"
	"slices"
	"time"
)

// A Save uses the first healthy host, or with Options.Spread the healthy host with
// the fewest checkouts. It uses a stalled host only if all other hosts are stalled
// or unhealthy.
//
// A host becomes unhealthy when it cannot be reached or cannot store messages. A
// goroutine probes it, so that no Save waits for a probe of a host that hangs.

const (
	// probeInterval is the time between two probes of an unhealthy host.
	probeInterval = 3 * time.Second
	// serverErrorDelay is the time before the first probe of a host that failed
	// for a reason that a probe does not detect, such as a full disk.
	serverErrorDelay = time.Minute
	// A host is stalled if one of its checkouts is older than stallTime.
	stallTime = 2 * time.Second
)

// A checkout is the use of a host by one Save or Check, from the choice of the
// host to the release of the connection.
type checkout struct{ since time.Time }

// health is the state of a host. Store.mu guards it.
type health struct {
	failure   error // why the host is unhealthy, nil if it is healthy
	checkouts map[*checkout]bool
}

func (h *health) healthy() bool { return h.failure == nil }

func (h *health) stalled() bool {
	for out := range h.checkouts {
		if time.Since(out.since) > stallTime {
			return true
		}
	}
	return false
}

// chooseHost returns the best host that is not in tried, nil if there is none.
// s.mu is held.
func (s *Store) chooseHost(tried []*host) *host {
	var best *host
	for i := range s.hosts {
		if s.options.Spread { // rotation distributes the load among equally good hosts
			i = (i + s.rotation) % len(s.hosts)
		}
		h := s.hosts[i]
		if !slices.Contains(tried, h) && (best == nil || s.preferred(h, best)) {
			best = h
		}
	}
	s.rotation++
	return best
}

// preferred reports whether h is better than a host that precedes it in
// s.hosts.
func (s *Store) preferred(h, earlier *host) bool {
	switch {
	case h.health.healthy() != earlier.health.healthy():
		return h.health.healthy()
	case h.health.stalled() != earlier.health.stalled():
		return !h.health.stalled()
	}
	return s.options.Spread && len(h.health.checkouts) < len(earlier.health.checkouts)
}

// checkOut begins a checkout. The store's mu is held.
func (h *host) checkOut() *checkout {
	out := &checkout{time.Now()}
	h.health.checkouts[out] = true
	return out
}

// checkIn ends a checkout. The store's mu is held.
func (h *host) checkIn(out *checkout) { delete(h.health.checkouts, out) }

// markUnhealthy marks a host as unhealthy and starts to probe it, unless it is the
// only host. The first probe follows after delay, but at least probeInterval. s.mu
// is held.
func (s *Store) markUnhealthy(h *host, cause error, delay time.Duration) {
	if len(s.hosts) == 1 || !h.health.healthy() || s.closed {
		return
	}
	h.health.failure = cause
	s.options.Log.Warn("MySQL server unhealthy, using the others", "host", h.name, "reason", cause)
	s.idle = slices.DeleteFunc(s.idle, func(c *conn) bool { // idle connections may hang, too
		if c.host == h {
			c.destroy()
		}
		return c.host == h
	})
	s.goroutines.Go(func() { s.probeUntilHealthy(h, delay) })
}

// probeUntilHealthy connects to an unhealthy host until it succeeds.
func (s *Store) probeUntilHealthy(h *host, delay time.Duration) {
	for pause := max(delay, probeInterval); ; pause = probeInterval {
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(pause):
		}
		ctx, cancel := context.WithTimeout(s.ctx, 3*s.options.replyTimeout())
		c, err := s.connect(ctx, h)
		cancel()
		if err == nil {
			s.mu.Lock()
			h.health.failure = nil
			s.options.Log.Info("MySQL server healthy again", "host", h.name)
			s.addIdle(c)
			s.mu.Unlock()
			return
		}
	}
}
