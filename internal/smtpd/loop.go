package smtpd

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/smtp"
)

// Sizes of a loop's buffers.
const (
	maxEvents = 256       // epoll events of one round
	outKept   = 256 << 10 // bytes; a larger reply buffer is not reused
	// scratchSize is the size in bytes of the read buffer. The longest PROXY
	// header fits.
	scratchSize = smtp.MaxProxyHeader + 1
)

// longestWait bounds one epoll_wait call. Its value is not critical.
const longestWait = time.Minute

// A loop serves its connections on one thread: the methods of the connections,
// of their sessions and of the loop's buffers run there, except for those that
// inbox.go and handshake.go name. The thread blocks only in epoll_wait and in
// the short sleeps of pace.go.
type loop struct {
	server *Server
	inbox
	epoll     int
	listeners []Listener
	events    [maxEvents]unix.EpollEvent

	start time.Time
	now   time.Duration // since start; set once in each round

	conns      []*conn // by descriptor; nil if it is not a connection of this loop
	live       int     // connections in conns
	saving     int     // messages passed to Options.Save that have no outcome yet
	handshakes int     // running goroutines of TLS handshakes
	generation int32   // of the newest connection; distinguishes a stale event from an event of a reused descriptor

	deadlines  deadlines // session.Settings.Timeout: connections with a session
	lingering  deadlines // lingerTime: connections in phase lingering
	proxies    deadlines // headerTime: trusted peers in phase awaitingHeader
	untrusted  deadlines // untrustedTime: other peers in phase awaitingHeader
	unfinished []*conn   // connections with input that epoll may not report again
	buffers    buffers

	scratch []byte // input of the current step
	out     []byte // replies of the current step
	records []byte // an empty buffer for the next wire that writes; nil while a wire has it

	backoff     time.Duration // current pause after a failed accept; 0 if there is none
	lastBackoff time.Duration // last pause; 0 after an accept succeeded
	resumeAt    time.Duration // end of the current pause
	pace        pace

	draining     bool
	stallCheckAt time.Duration // time of the next check for stalled transactions
	terminating  bool          // the loop ends when no handshake is running
}

func newLoop(s *Server, listeners []Listener) (*loop, error) {
	l := &loop{
		server:    s,
		epoll:     -1,
		inbox:     inbox{wakeFD: -1},
		listeners: listeners,
		scratch:   make([]byte, scratchSize),
		start:     time.Now(),
	}
	l.deadlines.init()
	l.lingering.init()
	l.proxies.init()
	l.untrusted.init()
	if err := l.openFiles(); err != nil {
		l.closeFiles()
		return nil, err
	}
	return l, nil
}

func (l *loop) openFiles() (err error) {
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("create epoll instance: %w", err)
	}
	if l.wakeFD, err = newEventFD(); err != nil {
		return err
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(l.wakeFD)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.wakeFD, &event); err != nil {
		return fmt.Errorf("watch eventfd: %w", err)
	}
	return l.watchListeners()
}

func (l *loop) closeFiles() {
	l.inbox.close()
	if l.epoll >= 0 {
		unix.Close(l.epoll)
	}
	l.epoll = -1
}

// run runs the loop until a drain is complete.
func (l *loop) run() {
	runtime.LockOSThread() // never unlocked: pace changes the thread's timer slack, so the thread ends with the loop
	l.pace.init(len(l.server.loops))
	defer l.closeFiles()
	for !l.ended() {
		events := l.wait()
		notes := l.receive()
		for i := range events {
			l.handleEvent(&events[i])
		}
		for i := range notes {
			l.handleNote(&notes[i])
		}
		l.readUnfinished()
		l.runTimers()
		l.pace.round(l.live, len(events)+len(notes))
	}
	l.closeAll()
}

// ended reports whether a drain or a termination is complete.
func (l *loop) ended() bool {
	return l.terminating && l.handshakes == 0 || l.draining && l.live == 0 && l.saving == 0
}

// wait waits for the next round and returns its epoll events.
func (l *loop) wait() []unix.EpollEvent {
	var wait time.Duration
	if (l.handshakes > 0 || !l.pace.nap()) && len(l.unfinished) == 0 && l.sleep() {
		wait = l.untilNext()
	}
	n, err := unix.EpollWait(l.epoll, l.events[:], milliseconds(wait))
	if err != nil && err != unix.EINTR {
		// Any other error is a bug in this package.
		panic(os.NewSyscallError("epoll_wait", err))
	}
	l.now = time.Since(l.start)
	return l.events[:max(n, 0)]
}

// milliseconds rounds up, so that the deadline has passed after the wait.
func milliseconds(d time.Duration) int {
	return int((d + time.Millisecond - 1) / time.Millisecond)
}

// untilNext returns the time until the next deadline.
func (l *loop) untilNext() time.Duration {
	now := time.Since(l.start)
	wait := l.deadlines.wait(now, l.server.timeout(), longestWait)
	wait = l.lingering.wait(now, lingerTime, wait)
	wait = l.proxies.wait(now, headerTime, wait)
	wait = l.untrusted.wait(now, untrustedTime, wait)
	if l.backoff > 0 {
		wait = min(wait, max(0, l.resumeAt-now))
	}
	if l.draining {
		wait = min(wait, max(0, l.stallCheckAt-now))
	}
	return wait
}

// handleEvent handles one epoll event. Its tag is negative for a listening
// socket, 0 for wakeFD, and else the generation of the connection.
func (l *loop) handleEvent(e *unix.EpollEvent) {
	switch {
	case e.Pad < 0:
		l.accept(l.listeners[^e.Pad])
	case e.Pad > 0:
		if c := l.conns[e.Fd]; c != nil && c.generation == e.Pad {
			l.guarded(c, func() { c.event(e.Events) })
		}
	}
}

// handleNote handles one note.
func (l *loop) handleNote(n *note) {
	c := n.conn
	switch n.kind {
	case noteCommand:
		n.run(l)
	case noteSaved:
		l.guarded(c, func() { c.saved(n.err) })
	case noteChecked:
		l.guarded(c, func() { c.checked(n.refusal) })
	case noteMemory:
		l.guarded(c, c.memoryGranted)
	case noteHandshake:
		l.guarded(c, func() { c.handshakeDone(n.err) })
	}
}

// readUnfinished continues the connections that stopped reading before the end
// of their input, so that the other connections did not wait for them.
func (l *loop) readUnfinished() {
	for range len(l.unfinished) { // connections that are added now wait for the next round
		c := l.unfinished[0]
		l.unfinished = l.unfinished[1:]
		c.queued = false
		if c.phase == awaitingInput {
			l.guarded(c, c.readable)
		}
	}
	if len(l.unfinished) == 0 {
		l.unfinished = nil
	}
}

// runTimers handles all deadlines that have passed.
func (l *loop) runTimers() {
	timeout := l.server.timeout()
	for t := l.deadlines.due(l.now, timeout); t != nil; t = l.deadlines.due(l.now, timeout) {
		c := t.conn
		l.deadlines.renew(t, l.now)
		l.guarded(c, c.expired)
	}
	for t := l.lingering.due(l.now, lingerTime); t != nil; t = l.lingering.due(l.now, lingerTime) {
		t.conn.close()
	}
	for t := l.proxies.due(l.now, headerTime); t != nil; t = l.proxies.due(l.now, headerTime) {
		t.stop()
		l.guarded(t.conn, t.conn.headerExpired)
	}
	for t := l.untrusted.due(l.now, untrustedTime); t != nil; t = l.untrusted.due(l.now, untrustedTime) {
		t.stop()
		l.guarded(t.conn, t.conn.headerExpired)
	}
	if l.backoff > 0 && l.now >= l.resumeAt {
		l.resumeAccept()
	}
	if l.draining && l.now >= l.stallCheckAt {
		l.terminateStalled()
	}
}

// guarded runs a step of one connection. A panic closes only this connection,
// so that the input of one client cannot end the session of another client.
func (l *loop) guarded(c *conn, step func()) {
	defer func() {
		if r := recover(); r != nil {
			c.panicked(r)
			c.closeBroken()
		}
	}()
	step()
}

// panicked logs a panic in a step of the connection.
func (c *conn) panicked(r any) {
	s := c.loop.server
	s.counters.panics.Add(1)
	s.log.Error("internal error, closing the connection",
		"remote", c.peer, "error", fmt.Sprint(r), "stack", string(debug.Stack()))
}

// watch registers a descriptor, or changes the events to watch. It fails only if
// the kernel is out of memory
// or at max_user_watches (epoll(7)).
func (l *loop) watch(op, fd int, events uint32, tag int32) error {
	e := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: tag}
	if err := unix.EpollCtl(l.epoll, op, fd, &e); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}
