package smtpd

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Under load a loop that blocks in epoll_wait is woken for each packet, and
// the wake-up is paid by the client's processor as much as by ours. When many
// sessions are busy it is cheaper to sleep a moment on purpose and then to
// look, without blocking, at all that has come: packets wake nobody, and are
// handled in batches. With few sessions the moment would only be added to each
// round trip, so the loop does that only while it is worth it; and never while
// TLS handshakes go on, which have use for the processor.
const (
	napTime     = 100 * time.Microsecond
	napSessions = 8 // live sessions from which on a loop naps
	napRounds   = 2 // rounds with work before the first nap
)

// pace decides whether a loop naps before the next look.
type pace struct {
	allowed bool
	busy    int // rounds with work in a row, up to napRounds
	live    int // sessions after the last round
}

// init prepares the calling thread, which is the loop's own. While it naps it
// keeps its place among the GOMAXPROCS running threads, for handing it over
// would cost more than it saves; so the loops must leave places to others.
func (p *pace) init(loops int) {
	if loops >= runtime.GOMAXPROCS(0) {
		return
	}
	// The kernel may round sleeps up by the thread's timer slack, 50 µs unless
	// set.
	err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(time.Microsecond), 0, 0, 0)
	p.allowed = err == nil
}

// round notes what the last round had to do.
func (p *pace) round(live, work int) {
	p.live = live
	if work == 0 {
		p.busy = 0
	} else if p.busy < napRounds {
		p.busy++
	}
}

// nap sleeps if that pays, and reports whether it did.
func (p *pace) nap() bool {
	if !p.allowed || p.live < napSessions || p.busy < napRounds {
		return false
	}
	t := unix.NsecToTimespec(int64(napTime))
	// Raw: the scheduler is not told. A signal that cuts it short does no harm.
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
	return true
}
