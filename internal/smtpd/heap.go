package smtpd

import (
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// A TLS handshake leaves 50 KiB of garbage. Go collects garbage when the heap has
// doubled since the last collection. The heap of a daemon with few sessions is
// small, so a collection every 80 handshakes would cost a sixth of the processor
// time. During many handshakes, the server therefore makes the heap larger with a
// ballast, so that collections are rarer. When the handshakes have ended, it
// collects the garbage and returns the memory to the system.
const (
	ballastSize    = 8 << 20 // bytes
	manyHandshakes = 64
	handshakeRest  = 200 * time.Millisecond // the handshakes end with a rest of this duration
)

// handshakeBegins counts a handshake.
func (s *Server) handshakeBegins() {
	if s.handshakes.Add(1) == 1 {
		go s.manageHeap()
	}
}

// manageHeap holds the ballast until the handshakes have ended.
func (s *Server) manageHeap() {
	var ballast []byte
	n, seen := int64(1), int64(0)
	for n != seen || !s.handshakes.CompareAndSwap(n, 0) {
		// The memory of sessions that stay open is not garbage.
		if ballast == nil && n >= manyHandshakes+s.limiter.sessions.Load() {
			ballast = make([]byte, ballastSize)
			// It takes no memory of the system, unless Go has cleared it.
			_ = unix.Madvise(ballast, unix.MADV_DONTNEED)
		}
		time.Sleep(handshakeRest)
		n, seen = s.handshakes.Load(), n
	}
	runtime.KeepAlive(ballast)
	// With many open sessions, a collection is worth its time only after more handshakes.
	if n >= max(manyHandshakes, s.limiter.sessions.Load()/8) {
		debug.FreeOSMemory()
	}
}
