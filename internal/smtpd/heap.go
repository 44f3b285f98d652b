package smtpd

import (
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// A TLS handshake leaves 50 KiB of garbage. Go collects garbage when the heap has
// doubled since the last collection. The heap of a daemon with few sessions is
// small, so a collection every 60 handshakes would cost a tenth of the processor
// time. During many handshakes, the server therefore makes the heap larger with a
// ballast, so that collections are rarer. After them, it collects the garbage and
// returns the memory to the system.
const (
	ballastSize    = 8 << 20   // bytes
	ballastLimit   = 128 << 20 // no ballast if Go's memory limit is lower
	manyHandshakes = 64
	heapInterval   = 200 * time.Millisecond
	fewHandshakes  = 4 // per heapInterval; fewer end the period of many handshakes
)

// handshakeCompleted counts a handshake.
func (s *Server) handshakeCompleted() {
	if s.recentHandshakes.Add(1) == 1 {
		go s.manageHeap()
	}
}

// manageHeap holds the ballast while there are many handshakes. There is at most one such
// goroutine.
func (s *Server) manageHeap() {
	var ballast []byte
	for seen := int64(0); ; {
		time.Sleep(heapInterval)
		runtime.KeepAlive(ballast)
		n, sessions := s.recentHandshakes.Load(), s.limiter.sessions.Load()
		if n-seen >= fewHandshakes {
			seen = n
			// The memory of sessions that stay open is not garbage.
			if ballast == nil && n >= manyHandshakes+sessions && debug.SetMemoryLimit(-1) >= ballastLimit {
				ballast = make([]byte, ballastSize)
				// make may have cleared memory, which is then resident.
				_ = unix.Madvise(ballast, unix.MADV_DONTNEED)
			}
			continue
		}
		ballast = nil
		// With many open sessions, a collection is worth its time only after more handshakes.
		if n >= max(manyHandshakes, sessions/8) {
			debug.FreeOSMemory()
		}
		if s.recentHandshakes.Add(-n) == 0 {
			return
		}
		seen = 0
	}
}
