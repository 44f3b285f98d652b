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

// Sizes that one loop has once, in bytes unless said otherwise.
const (
	maxEvents = 256       // events of one round
	outKept   = 256 << 10 // a reply buffer that grew beyond it is dropped after use
	// scratchSize is the most that one read takes. A PROXY header is read whole.
	scratchSize = smtp.MaxProxyHeader + 1
)

// longestWait bounds one epoll_wait: nothing depends on it.
const longestWait = time.Minute

// A loop owns connections: every method of them, of their sessions and of the
// loop's buffers runs on its thread, but for what inbox.go and handshake.go
// say. Nothing on that thread blocks but epoll_wait.
type loop struct {
	server *Server
	inbox
	epoll     int
	listeners []int
	events    [maxEvents]unix.EpollEvent

	start time.Time
	now   time.Duration // since start, once a round

	conns      []*conn // by descriptor; nil where none of this loop's is
	live       int     // connections in conns
	saving     int     // messages handed to Save and not answered yet
	shaking    int     // goroutines that shake hands
	generation int32   // of the newest connection; tells a stale event from one of a reused descriptor

	deadlines deadlines // of those whose client is to act, Settings.Timeout each
	lingering deadlines // of those that only wait for the client to close, lingerTime each
	headers   deadlines // of trusted proxies before their PROXY header, headerTime each
	strangers deadlines // of other peers where there is one to come, strangerTime each
	again     []*conn   // that have input left which epoll does not see
	buffers   buffers

	scratch []byte // what was read, until the turn ends
	out     []byte // replies of the turn
	records []byte // for the next wire that writes: empty, nil while a wire has it

	backoff     time.Duration // pause after an accept that failed; 0 when listening
	lastBackoff time.Duration // the last one, until an accept succeeds
	resumeAt    time.Duration // when to listen again
	pace        pace

	draining  bool
	drainTick time.Duration // when to look for sessions without progress
	cutting   bool          // the drain's time is up
}

func newLoop(s *Server, listeners []int) (*loop, error) {
	l := &loop{
		server:    s,
		epoll:     -1,
		inbox:     inbox{bell: -1},
		listeners: listeners,
		scratch:   make([]byte, scratchSize),
		start:     time.Now(),
	}
	l.deadlines.init()
	l.lingering.init()
	l.headers.init()
	l.strangers.init()
	if err := l.openFiles(); err != nil {
		l.closeFiles()
		return nil, err
	}
	return l, nil
}

func (l *loop) openFiles() (err error) {
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("create an epoll: %w", err)
	}
	if l.bell, err = newBell(); err != nil {
		return err
	}
	ring := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(l.bell)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.bell, &ring); err != nil {
		return fmt.Errorf("watch an eventfd: %w", err)
	}
	return l.listen()
}

func (l *loop) closeFiles() {
	l.inbox.close()
	if l.epoll >= 0 {
		unix.Close(l.epoll)
	}
	l.epoll = -1
}

// run is the loop.
func (l *loop) run() {
	runtime.LockOSThread() // the thread's timer slack is changed: it ends with the loop
	l.pace.init(len(l.server.loops))
	defer l.closeFiles()
	for !l.over() {
		events := l.wait()
		notes := l.take()
		for i := range events {
			l.handle(&events[i])
		}
		for i := range notes {
			l.read(&notes[i])
		}
		l.goOn()
		l.sweep()
		l.pace.round(l.live, len(events)+len(notes))
	}
	l.abandon()
}

// over reports whether a drain has come to its end.
func (l *loop) over() bool {
	return l.cutting && l.shaking == 0 || l.draining && l.live == 0 && l.saving == 0
}

// wait returns the events of the next round.
func (l *loop) wait() []unix.EpollEvent {
	var wait time.Duration
	if (l.shaking > 0 || !l.pace.nap()) && len(l.again) == 0 && l.sleep() {
		wait = l.untilNext()
	}
	n, err := unix.EpollWait(l.epoll, l.events[:], milliseconds(wait))
	if err != nil && err != unix.EINTR {
		// Only a bug of ours: a wrong descriptor.
		panic(os.NewSyscallError("epoll_wait", err))
	}
	l.now = time.Since(l.start)
	return l.events[:max(n, 0)]
}

// milliseconds rounds up, so that what is waited for is due afterwards.
func milliseconds(d time.Duration) int {
	return int((d + time.Millisecond - 1) / time.Millisecond)
}

// untilNext returns how long nothing is to do unless something happens.
func (l *loop) untilNext() time.Duration {
	now := time.Since(l.start)
	wait := l.deadlines.wait(now, l.server.timeout(), longestWait)
	wait = l.lingering.wait(now, lingerTime, wait)
	wait = l.headers.wait(now, headerTime, wait)
	wait = l.strangers.wait(now, strangerTime, wait)
	if l.backoff > 0 {
		wait = min(wait, max(0, l.resumeAt-now))
	}
	if l.draining {
		wait = min(wait, max(0, l.drainTick-now))
	}
	return wait
}

// handle deals with one event. Its tag tells what it is about: a listener
// (negative), the bell (0), or the connection of that generation.
func (l *loop) handle(e *unix.EpollEvent) {
	switch {
	case e.Pad < 0:
		l.accept(l.listeners[^e.Pad])
	case e.Pad > 0:
		if c := l.conns[e.Fd]; c != nil && c.generation == e.Pad {
			l.guarded(c, func() { c.event(e.Events) })
		}
	}
}

// read deals with one note.
func (l *loop) read(n *note) {
	c := n.conn
	switch n.kind {
	case noteCommand:
		n.run(l)
	case noteSaved:
		l.guarded(c, func() { c.outcome(n.err) })
	case noteChecked:
		l.guarded(c, func() { c.checked(n.refusal) })
	case noteRoom:
		l.guarded(c, c.roomGranted)
	case noteShaken:
		l.guarded(c, func() { c.shaken(n.err) })
	}
}

// goOn continues connections whose last turn ended before their input did, so
// that one of them could not keep the others waiting.
func (l *loop) goOn() {
	for range len(l.again) { // those that are added meanwhile wait for the next round
		c := l.again[0]
		l.again = l.again[1:]
		c.queued = false
		if c.phase == talking {
			l.guarded(c, c.readable)
		}
	}
	if len(l.again) == 0 {
		l.again = nil
	}
}

// sweep acts on all times that are over.
func (l *loop) sweep() {
	timeout := l.server.timeout()
	for t := l.deadlines.due(l.now, timeout); t != nil; t = l.deadlines.due(l.now, timeout) {
		c := t.conn
		l.deadlines.renew(t, l.now)
		l.guarded(c, c.expired)
	}
	for t := l.lingering.due(l.now, lingerTime); t != nil; t = l.lingering.due(l.now, lingerTime) {
		t.conn.close()
	}
	for t := l.headers.due(l.now, headerTime); t != nil; t = l.headers.due(l.now, headerTime) {
		t.stop()
		l.guarded(t.conn, t.conn.unheard)
	}
	for t := l.strangers.due(l.now, strangerTime); t != nil; t = l.strangers.due(l.now, strangerTime) {
		t.stop()
		l.guarded(t.conn, t.conn.unheard)
	}
	if l.backoff > 0 && l.now >= l.resumeAt {
		l.resumeAccept()
	}
	if l.draining && l.now >= l.drainTick {
		l.cutIdlers()
	}
}

// guarded runs a step of one connection. Should it panic, that connection ends
// and no other: one client's bytes must not cost another its session.
func (l *loop) guarded(c *conn, step func()) {
	defer func() {
		if r := recover(); r != nil {
			c.panicked(r)
			c.discard()
		}
	}()
	step()
}

// panicked reports a panic in a step of the connection.
func (c *conn) panicked(r any) {
	s := c.loop.server
	s.counters.panics.Add(1)
	s.log.Error("internal error, closing the connection",
		"remote", c.peer, "error", fmt.Sprint(r), "stack", string(debug.Stack()))
}

// watch registers a descriptor, or changes what is watched of it. Running out
// of kernel memory is the only error that can happen.
func (l *loop) watch(op, fd int, events uint32, tag int32) error {
	e := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: tag}
	if err := unix.EpollCtl(l.epoll, op, fd, &e); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}
