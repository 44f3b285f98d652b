package smtpd

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"goguerrillad/internal/smtp"
)

// limiter counts all sessions, and the sessions of each client address.
type limiter struct {
	sessions   atomic.Int64
	fullLogged atomic.Bool // the log has the warning that MaxClients is reached

	mu    sync.Mutex
	perIP map[netip.Addr]int // only addresses that have sessions
}

// admit counts a new connection, or returns the refusal. counted reports
// whether the connection was also counted for its address. Addresses are not
// counted while MaxClientsPerIP is off, so a reload that turns it on misses the
// sessions that are open.
func (s *Server) admit(addr netip.Addr) (refusal *smtp.Reply, counted bool) {
	limits := s.settings.Load()
	if n := s.limiter.sessions.Add(1); n > int64(limits.MaxClients) {
		s.limiter.sessions.Add(-1)
		s.counters.refusedFull.Add(1)
		if !s.limiter.fullLogged.Swap(true) {
			s.log.Warn("client limit reached, refusing connections", "limit", limits.MaxClients)
		}
		return &smtp.ReplyTooManySessions, false
	}
	if limits.MaxClientsPerIP <= 0 || !addr.IsValid() || s.trusts(addr) {
		return nil, false
	}
	if !s.limiter.add(countedAddr(addr), limits.MaxClientsPerIP) {
		s.limiter.sessions.Add(-1)
		s.counters.refusedIP.Add(1)
		return &smtp.ReplyTooManyPerIP, false
	}
	return nil, true
}

// trusts reports whether a peer is a trusted proxy. MaxClientsPerIP limits the
// addresses that the proxy reports, and not its own address.
func (s *Server) trusts(peer netip.Addr) bool {
	trusted := s.environment.Settings().Trusted
	return trusted != nil && trusted.Match(peer.Unmap())
}

// setClientAddress counts the connection for the client address that a trusted proxy
// reports, instead of the previous address, or returns the refusal.
func (c *conn) setClientAddress(to netip.Addr) *smtp.Reply {
	s := c.loop.server
	if c.counted {
		s.limiter.remove(countedAddr(c.peer.Addr()))
	}
	c.peer, c.counted = netip.AddrPortFrom(to, 0), false
	limit := s.settings.Load().MaxClientsPerIP
	if limit <= 0 || !to.IsValid() {
		return nil
	}
	if !s.limiter.add(countedAddr(to), limit) {
		s.counters.refusedIP.Add(1)
		return &smtp.ReplyTooManyPerIP
	}
	c.counted = true
	return nil
}

// Sessions returns the number of open sessions.
func (s *Server) Sessions() int64 { return s.limiter.sessions.Load() }

// Full reports whether the server refuses new sessions because MaxClients is
// reached.
func (s *Server) Full() bool {
	return s.limiter.sessions.Load() >= int64(s.settings.Load().MaxClients)
}

// uncount removes a connection from the counts.
func (s *Server) uncount(addr netip.Addr, counted bool) {
	if n := s.limiter.sessions.Add(-1); n < int64(s.settings.Load().MaxClients)*9/10 {
		s.limiter.fullLogged.Store(false)
	}
	if counted {
		s.limiter.remove(countedAddr(addr))
	}
}

// countedAddr returns the address for which a client is counted: its IPv4
// address or its IPv6 /64, since one host usually has a /64.
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

// add counts a session of addr unless addr already has limit sessions.
func (l *limiter) add(addr netip.Addr, limit int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.perIP[addr] >= limit {
		return false
	}
	l.perIP[addr]++
	return true
}

// remove removes a session of addr from the count.
func (l *limiter) remove(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.perIP[addr]--; l.perIP[addr] <= 0 {
		delete(l.perIP, addr)
	}
}
