package authhttp

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// Times between two checks of a backend.
const (
	checkPause = 500 * time.Millisecond
	maxPause   = 8 * time.Second // the pause doubles up to maxPause while the backend is unhealthy
)

// pool is the list of backends. Each backend has a goroutine that checks it.
type pool struct {
	log *slog.Logger

	mu      sync.Mutex
	members []*backend
	next    int // counter that moves the start of the search, so that equally busy backends alternate
	proxy   bool
}

// backend is one server. pool.mu guards the fields of the second group.
type backend struct {
	addr       netip.AddrPort
	stop       context.CancelFunc // ends the checks
	firstCheck chan struct{}      // closed after the first check, or when the checks end before it

	checked  bool // at least once
	healthy  bool
	sessions int64 // at the last check that reported them, else 0
	assigned int64 // sessions sent to the backend since then
}

// reload replaces the list. A backend that stays in the list keeps its state,
// unless proxy changes.
func (p *pool) reload(addrs []netip.AddrPort, proxy bool, host string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := map[netip.AddrPort]*backend{}
	for _, b := range p.members {
		if p.proxy == proxy {
			known[b.addr] = b
		} else {
			b.stop()
		}
	}
	p.members, p.proxy = nil, proxy
	for _, addr := range addrs {
		b := known[addr]
		delete(known, addr)
		if b == nil {
			ctx, cancel := context.WithCancel(context.Background())
			b = &backend{addr: addr, stop: cancel, firstCheck: make(chan struct{})}
			go p.watch(ctx, b, check{addr: addr, proxy: proxy, host: host})
		}
		p.members = append(p.members, b)
	}
	for _, b := range known {
		b.stop()
	}
}

// choose returns the address of the healthy backend with the fewest sessions. It
// returns false if the list is empty, and an invalid address if no backend is
// healthy. local returns the current state of a backend that is this daemon: its
// number of sessions, and whether it must not be chosen.
func (p *pool) choose(ctx context.Context, local func(*backend) (sessions int64, exclude bool)) (netip.AddrPort, bool) {
	p.mu.Lock()
	members := p.members
	p.mu.Unlock()
	if len(members) == 0 {
		return netip.AddrPort{}, false
	}
	for _, b := range members { // waits for at most checkTime, and only for the first check
		select {
		case <-b.firstCheck:
		case <-ctx.Done():
			return netip.AddrPort{}, true
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var best *backend
	var least int64
	p.next++
	for i := range members {
		b := members[(p.next+i)%len(members)]
		current, exclude := local(b)
		if !b.healthy || exclude {
			continue
		}
		if n := max(b.sessions+b.assigned, current); best == nil || n < least {
			best, least = b, n
		}
	}
	if best == nil {
		return netip.AddrPort{}, true
	}
	best.assigned++
	return best.addr, true
}

// watch checks a backend until ctx is done.
func (p *pool) watch(ctx context.Context, b *backend, c check) {
	pause := checkPause
	for {
		sessions, err := c.run(ctx)
		if ctx.Err() != nil {
			p.endWait(b)
			return
		}
		p.update(b, sessions, err)
		pause = min(2*pause, maxPause)
		if err == nil {
			pause = checkPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// update stores the result of a check and logs a change of the backend's health.
// For a backend that does not report its sessions, each check halves the number
// of assigned sessions, so that old sessions do not count permanently.
func (p *pool) update(b *backend, sessions int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil && (b.healthy || !b.checked):
		p.log.Warn("backend unhealthy, using the others", "backend", b.addr, "reason", err)
	case err == nil && !b.healthy && b.checked:
		p.log.Info("backend healthy again", "backend", b.addr)
	}
	if b.healthy != (err == nil) {
		b.sessions, b.assigned = 0, 0
	}
	if b.healthy = err == nil; b.healthy && sessions < 0 {
		b.assigned /= 2
	} else if b.healthy {
		b.sessions, b.assigned = sessions, 0
	}
	if !b.checked {
		b.checked = true
		close(b.firstCheck)
	}
}

// endWait ends the wait for the first check of a backend that is no longer
// checked.
func (p *pool) endWait(b *backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !b.checked {
		close(b.firstCheck)
	}
}
