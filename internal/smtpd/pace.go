package smtpd

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Under load, each packet wakes a loop that blocks in epoll_wait, which costs
// processor time of the server and of the client. With many busy sessions it is
// cheaper to nap: to sleep for napTime and then to handle all events together
// without blocking. With few sessions a nap would only delay each reply, and
// during TLS handshakes the processor has other work, so the loop does not nap.
const (
	napTime     = 100 * time.Microsecond
	napSessions = 8 // minimum number of live sessions
	napRounds   = 2 // consecutive rounds with work before the first nap
)

// pace decides whether a loop naps before its next epoll_wait.
type pace struct {
	allowed bool
	busy    int // consecutive rounds with work, at most napRounds
	live    int // sessions after the last round
}

// init prepares the calling thread, which must be the loop's own. A napping
// thread keeps its P (Go's scheduler has GOMAXPROCS of them), since releasing it
// would cost more than the nap saves. So naps are allowed only if there are fewer loops
// than GOMAXPROCS.
func (p *pace) init(loops int) {
	if loops >= runtime.GOMAXPROCS(0) {
		return
	}
	// The kernel may extend a sleep by the thread's timer slack, 50 µs by default.
	err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(time.Microsecond), 0, 0, 0)
	p.allowed = err == nil
}

// round records the number of live sessions and of handled events and notes.
func (p *pace) round(live, work int) {
	p.live = live
	if work == 0 {
		p.busy = 0
	} else if p.busy < napRounds {
		p.busy++
	}
}

// nap sleeps for napTime under load, and reports whether it did.
func (p *pace) nap() bool {
	if !p.allowed || p.live < napSessions || p.busy < napRounds {
		return false
	}
	t := unix.NsecToTimespec(int64(napTime))
	// RawSyscall does not notify Go's scheduler. A signal may end the sleep early.
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
	return true
}
