package smtpd

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"goguerrillad/internal/smtp"
)

// doors counts who is inside, over all loops.
type doors struct {
	sessions atomic.Int64
	full     atomic.Bool // the log has been told

	mu    sync.Mutex
	perIP map[netip.Addr]int // only addresses with sessions; bounded by their number
}

// admit counts a connection in, or returns the refusal. Counted says that its
// address was counted too: while that limit is off it costs nothing, hence
// sessions from before a reload that turns it on are not in the count.
func (s *Server) admit(addr netip.Addr) (refusal *smtp.Reply, counted bool) {
	limits := s.settings.Load()
	if n := s.doors.sessions.Add(1); n > int64(limits.MaxClients) {
		s.doors.sessions.Add(-1)
		s.counters.refusedFull.Add(1)
		if !s.doors.full.Swap(true) {
			s.log.Warn("too many clients, refusing new ones", "limit", limits.MaxClients)
		}
		return &smtp.ReplyTooManySessions, false
	}
	if limits.MaxClientsPerIP <= 0 || !addr.IsValid() || s.trusts(addr) {
		return nil, false
	}
	if !s.doors.enter(countedAddr(addr), limits.MaxClientsPerIP) {
		s.doors.sessions.Add(-1)
		s.counters.refusedIP.Add(1)
		return &smtp.ReplyTooManyPerIP, false
	}
	return nil, true
}

// trusts reports whether a peer speaks for clients, whose own addresses count
// then.
func (s *Server) trusts(peer netip.Addr) bool {
	trusted := s.world.Settings().Trusted
	return trusted != nil && trusted.Match(peer.Unmap())
}

// move counts a connection under the address that a trusted proxy speaks for,
// in place of the one before, or returns the refusal.
func (c *conn) move(to netip.Addr) *smtp.Reply {
	s := c.loop.server
	if c.counted {
		s.doors.leave(countedAddr(c.peer.Addr()))
	}
	c.peer, c.counted = netip.AddrPortFrom(to, 0), false
	limit := s.settings.Load().MaxClientsPerIP
	if limit <= 0 || !to.IsValid() {
		return nil
	}
	if !s.doors.enter(countedAddr(to), limit) {
		s.counters.refusedIP.Add(1)
		return &smtp.ReplyTooManyPerIP
	}
	c.counted = true
	return nil
}

// Sessions returns how many there are now.
func (s *Server) Sessions() int64 { return s.doors.sessions.Load() }

// Full reports whether the server would refuse a session for want of room.
func (s *Server) Full() bool {
	return s.doors.sessions.Load() >= int64(s.settings.Load().MaxClients)
}

// dismiss counts a connection out.
func (s *Server) dismiss(addr netip.Addr, counted bool) {
	if n := s.doors.sessions.Add(-1); n < int64(s.settings.Load().MaxClients)*9/10 {
		s.doors.full.Store(false)
	}
	if counted {
		s.doors.leave(countedAddr(addr))
	}
}

// countedAddr is what is counted as one client: an IPv4 address, or an IPv6
// /64, since that is what one host gets.
func countedAddr(addr netip.Addr) netip.Addr {
	addr = addr.Unmap()
	if addr.Is4() {
		return addr
	}
	p, err := addr.Prefix(64)
	if err != nil {
		return addr
	}
	return p.Addr()
}

func (d *doors) enter(addr netip.Addr, limit int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.perIP[addr] >= limit {
		return false
	}
	d.perIP[addr]++
	return true
}

func (d *doors) leave(addr netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.perIP[addr]--; d.perIP[addr] <= 0 {
		delete(d.perIP, addr)
	}
}
