package smtpd

import "sync/atomic"

// counters are shared by all loops.
type counters struct {
	accepted, refusedFull, refusedIP, acceptErrors atomic.Uint64
	submitted, saved, notSaved                     atomic.Uint64
	tls12, tls13, tlsFailed                        atomic.Uint64
	expired, panics, refusedHeaders                atomic.Uint64
}

// Stats are the server's counters. All but the first three only grow.
type Stats struct {
	Sessions int64 // now
	Memory   int64 // bytes of message buffers now
	Waiting  int   // sessions that wait for memory now

	Accepted     uint64 // connections, refused ones included
	RefusedFull  uint64 // connections beyond MaxClients
	RefusedIP    uint64 // connections beyond MaxClientsPerIP
	AcceptErrors uint64 // out of descriptors or memory
	Submitted    uint64 // messages handed to Save
	Saved        uint64 // of them durable
	NotSaved     uint64 // of them failed
	TLS12, TLS13 uint64 // shakes of hands that succeeded, by version
	TLSFailed    uint64 // and that did not
	Expired      uint64 // connections ended by a deadline
	Panics       uint64 // connections ended by an error of ours

	RefusedHeaders uint64 // connections closed for a PROXY header that was wrong, missing, or forged
}

// Stats returns the counters of this moment.
func (s *Server) Stats() Stats {
	memory, waiting := s.budget.inUse()
	c := &s.counters
	return Stats{
		Sessions: s.doors.sessions.Load(),
		Memory:   memory,
		Waiting:  waiting,

		Accepted:     c.accepted.Load(),
		RefusedFull:  c.refusedFull.Load(),
		RefusedIP:    c.refusedIP.Load(),
		AcceptErrors: c.acceptErrors.Load(),
		Submitted:    c.submitted.Load(),
		Saved:        c.saved.Load(),
		NotSaved:     c.notSaved.Load(),
		TLS12:        c.tls12.Load(),
		TLS13:        c.tls13.Load(),
		TLSFailed:    c.tlsFailed.Load(),
		Expired:      c.expired.Load(),
		Panics:       c.panics.Load(),

		RefusedHeaders: c.refusedHeaders.Load(),
	}
}
