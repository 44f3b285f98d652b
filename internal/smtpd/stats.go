package smtpd

import "sync/atomic"

// counters are the counters of all loops together.
type counters struct {
	accepted, refusedFull, refusedIP, acceptErrors atomic.Uint64
	tls12, tls13, tlsFailed                        atomic.Uint64
	expired, panics, refusedHeaders                atomic.Uint64
}

// Stats is a snapshot of the server's state and counters. The counters never
// decrease while the process runs.
type Stats struct {
	Sessions int64 // open sessions
	Memory   int64 // bytes of the message buffers in use
	Waiting  int   // sessions that wait for memory

	Accepted     uint64 // connections, including refused connections
	RefusedFull  uint64 // connections refused because of MaxClients
	RefusedIP    uint64 // connections refused because of MaxClientsPerIP
	AcceptErrors uint64 // errors while accepting connections
	TLS12, TLS13 uint64 // completed TLS handshakes, by version
	TLSFailed    uint64 // failed TLS handshakes
	Expired      uint64 // connections closed at a deadline
	Panics       uint64 // connections closed because of a panic

	RefusedHeaders uint64 // connections closed because their PROXY header was invalid, missing or from an untrusted peer
}

// Stats returns the current values.
func (s *Server) Stats() Stats {
	memory, waiting := s.budget.inUse()
	c := &s.counters
	return Stats{
		Sessions: s.limiter.sessions.Load(),
		Memory:   memory,
		Waiting:  waiting,

		Accepted:     c.accepted.Load(),
		RefusedFull:  c.refusedFull.Load(),
		RefusedIP:    c.refusedIP.Load(),
		AcceptErrors: c.acceptErrors.Load(),
		TLS12:        c.tls12.Load(),
		TLS13:        c.tls13.Load(),
		TLSFailed:    c.tlsFailed.Load(),
		Expired:      c.expired.Load(),
		Panics:       c.panics.Load(),

		RefusedHeaders: c.refusedHeaders.Load(),
	}
}
