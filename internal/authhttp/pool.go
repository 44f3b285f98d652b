package authhttp

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// Times between two checks of a server.
const (
	checkPause = 500 * time.Millisecond
	maxPause   = 8 * time.Second // of one that does not answer: the pause doubles up to it
)

// pool is the servers to choose from. Each has a goroutine that looks whether
// it is well.
type pool struct {
	log *slog.Logger

	mu      sync.Mutex
	members []*backend
	turn    int // where the search begins, so that equals take turns
	proxy   bool
}

// backend is one server; pool.mu guards what changes.
type backend struct {
	addr   netip.AddrPort
	stop   context.CancelFunc
	looked chan struct{} // closed after the first check

	checked  bool // once at least
	alive    bool
	sessions int64 // that it had at the last check, 0 when it does not say
	assigned int64 // sessions sent to it since
}

// reload replaces the list; servers that stay keep what is known of them.
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
			b = &backend{addr: addr, stop: cancel, looked: make(chan struct{})}
			go p.watch(ctx, b, check{addr: addr, proxy: proxy, host: host})
		}
		p.members = append(p.members, b)
	}
	for _, b := range known {
		b.stop()
	}
}

// choose returns the server with the fewest sessions among those that are
// well, which is not valid when none is, or false where there is no list.
// extra tells of a server that it has more sessions than its check has seen,
// or that it must be left out.
func (p *pool) choose(ctx context.Context, extra func(*backend) (sessions int64, out bool)) (netip.AddrPort, bool) {
	p.mu.Lock()
	members := p.members
	p.mu.Unlock()
	if len(members) == 0 {
		return netip.AddrPort{}, false
	}
	for _, b := range members { // bounded by checkTime, and over after the first time
		select {
		case <-b.looked:
		case <-ctx.Done():
			return netip.AddrPort{}, true
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var best *backend
	var least int64
	p.turn++
	for i := range members {
		b := members[(p.turn+i)%len(members)]
		now, out := extra(b)
		if !b.alive || out {
			continue
		}
		if n := max(b.sessions+b.assigned, now); best == nil || n < least {
			best, least = b, n
		}
	}
	if best == nil {
		return netip.AddrPort{}, true
	}
	best.assigned++
	return best.addr, true
}

// watch checks a server until ctx is done.
func (p *pool) watch(ctx context.Context, b *backend, c check) {
	pause := checkPause
	for {
		sessions, err := c.run(ctx)
		if ctx.Err() != nil {
			p.looked(b)
			return
		}
		p.learn(b, sessions, err)
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

// learn takes note of how a server is, and logs it when that is news. Of one
// that does not say how many sessions it has, what was sent to it is forgotten
// by halves.
func (p *pool) learn(b *backend, sessions int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil && (b.alive || !b.checked):
		p.log.Warn("backend does not answer, sessions go elsewhere", "backend", b.addr, "error", err)
	case err == nil && !b.alive && b.checked:
		p.log.Info("backend answers again", "backend", b.addr)
	}
	if b.alive != (err == nil) {
		b.sessions, b.assigned = 0, 0
	}
	if b.alive = err == nil; b.alive && sessions < 0 {
		b.assigned /= 2
	} else if b.alive {
		b.sessions, b.assigned = sessions, 0
	}
	if !b.checked {
		b.checked = true
		close(b.looked)
	}
}

// looked lets nobody wait for a server that is checked no more.
func (p *pool) looked(b *backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !b.checked {
		close(b.looked)
	}
}
