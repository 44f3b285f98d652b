package smtpd

import (
	"errors"
	"io"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/session"
)

// Bounds of what one connection does at a time and keeps, in bytes unless said
// otherwise.
const (
	readsPerTurn = 4  // before other connections have their turn
	tlsPerTurn   = 16 // the same inside TLS, in records of at most 16 KiB
	// feedSize is what a session is given at a time. It bounds the replies
	// that one call returns; a command line fits.
	feedSize = session.MaxLine + 512
	// outHigh is the length of replies from which on they are sent before more
	// is fed. While some of them cannot be sent the client is not heard, so a
	// connection keeps at most outHigh and the replies to feedSize bytes (about
	// 150 KiB, were they all EHLO), and scratchSize of input.
	outHigh = 16 << 10
)

// phase says whose turn it is.
type phase uint8

const (
	talking   phase = iota // the client's: more input, or reading what we sent
	roomless               // the budget's: noteRoom, or the deadline
	checking               // the recipients': noteChecked; no deadline runs
	saving                 // the saver's: noteSaved; no deadline runs
	shaking                // TLS handshake: noteShaken, or the deadline
	meeting                // the client's: who it is, before the greeting
	closing                // the client's: taking the last replies
	lingering              // the client's: closing its side
	closed                 // nobody's; the descriptor is given back
)

// conn is one connection. In phase saving it may outlive its descriptor.
type conn struct {
	loop    *loop
	session *session.Session
	memory  claim
	timer   timer          // in loop.deadlines, in loop.lingering, or in none
	peer    netip.AddrPort // of the socket, or whom a trusted proxy speaks for
	secured *secured       // nil in clear

	pending []byte // input that the session has not consumed
	unsent  []byte // output that the client has not taken

	turns      uint64        // the session's, when the deadline was last renewed
	moved      time.Duration // when something last came from the client or the saver
	fd         int           // -1 when closed
	interest   uint32        // what epoll watches
	generation int32
	discarded  int32 // bytes thrown away in phase lingering
	phase      phase
	counted    bool // by doors, for its address
	queued     bool // in loop.again
	drained    bool // the last read has emptied the socket
	ended      bool // nothing more comes
	broken     bool // the session panicked: it is not called again
	stranger   bool // meeting: a peer that may not send a PROXY header
}

// event acts on what epoll says.
func (c *conn) event(events uint32) {
	const gone = unix.EPOLLERR | unix.EPOLLHUP
	switch c.phase {
	case talking:
		if len(c.unsent) > 0 {
			c.rejoin(c.loop.out[:0]) // sends the unsent bytes
			return
		}
		if c.secured != nil {
			c.secured.wire.drained = false
		}
		c.readable() // sees an error, or what came before it
	case roomless, checking, saving:
		switch {
		case events&gone != 0:
			c.drop()
		case events&unix.EPOLLOUT != 0:
			c.send(nil, 0)
			c.listen()
		default: // input that has to wait, or its end
			c.watch(0)
		}
	case shaking:
		c.shakeReady()
	case meeting:
		c.introduced()
	case closing:
		c.send(nil, 0)
		c.finish()
	case lingering:
		c.linger()
	}
}

// readable reads and feeds what the client sent, up to a bound.
func (c *conn) readable() {
	turns := readsPerTurn
	if c.secured != nil {
		turns = tlsPerTurn
	}
	for range turns {
		if c.phase != talking || len(c.unsent) > 0 {
			return
		}
		more := c.hear()
		if c.phase == talking && c.secured != nil {
			c.send(nil, 0) // what TLS had to say by itself
		}
		if !more {
			return
		}
	}
	if c.phase == talking {
		c.goOnLater()
	}
}

// hear reads once. It returns false when nothing more is to be read now.
func (c *conn) hear() (more bool) {
	l := c.loop
	var n, room int
	var err error
	var in []byte
	out := l.out[:0]
	if space := c.session.Space(); space != nil && len(c.pending) == 0 {
		// The text goes where it will stay. What lies behind its end is kept
		// by us, hence the bound.
		space = space[:min(len(space), scratchSize)]
		room = len(space)
		if n, err = c.read(space); n > 0 {
			var rest []byte
			rest, out = c.session.Filled(n, out)
			in = l.scratch[:copy(l.scratch, rest)]
		}
	} else {
		kept := copy(l.scratch, c.pending)
		room = len(l.scratch) - kept
		if n, err = c.read(l.scratch[kept:]); n > 0 {
			in = l.scratch[:kept+n]
		}
	}
	switch {
	case n > 0:
		c.moved = l.now
		c.drained = n < room && c.secured == nil
		c.proceed(in, out)
		return !c.drained
	case err == errAgain:
		return false
	case err == io.EOF:
		c.ended = true
		c.session.Abort()
		c.conclude(nil)
	case c.secured != nil:
		c.failTLS(err)
	default:
		c.drop()
	}
	return false
}

// proceed lets the session go on: with replies of the step before in out, it
// feeds it the input in, sends the replies, and does what the session wishes,
// until one of them has to wait. A group of commands is answered by one write.
func (c *conn) proceed(in, out []byte) {
	s := c.session
	for c.phase != closed {
		switch s.Wish() {
		case session.WishInput:
			c.phase = talking
			half := false // a command
			if len(in) > 0 && len(c.unsent) == 0 {
				used := 0
				used, out = s.Feed(in[:min(len(in), feedSize)], out)
				in = in[used:]
				half = used == 0 && s.Wish() == session.WishInput
				if len(out) >= outHigh {
					out = c.send(out, 0)
				}
				if !half {
					continue
				}
			}
			c.keep(in)
			out = c.send(out, 0)
			if len(in) > 0 && !half && len(c.unsent) == 0 { // it was held up, but now all is sent
				in = c.pending
				continue
			}
			c.listen()
		case session.WishRoom:
			c.keep(in)
			c.send(out, 0)
			c.awaitRoom()
		case session.WishRecipient:
			c.keep(in)
			c.check()
			c.send(out, 0)
			c.listen()
		case session.WishSave:
			c.keep(in)
			c.save()
			c.send(out, 0)
			c.listen()
		case session.WishStartTLS:
			c.keep(nil) // what came in clear behind STARTTLS is never heard
			c.send(out, 0)
			c.startTLS()
		case session.WishClose:
			c.conclude(out)
		}
		return
	}
}

// rejoin is proceed with the input that was kept, after output was taken or a
// wish was answered elsewhere.
func (c *conn) rejoin(out []byte) {
	c.proceed(c.pending, out)
	if c.secured != nil && c.phase == talking {
		c.goOnLater() // TLS may hold input that epoll does not see
	}
}

// listen watches for what the phase needs, and renews the deadline when the
// session has got on.
func (c *conn) listen() {
	if c.phase == closed {
		return
	}
	if turns := c.session.Turns(); turns != c.turns && c.phase != saving && c.phase != checking {
		c.turns = turns
		c.loop.deadlines.renew(&c.timer, c.loop.now)
	}
	switch {
	case len(c.unsent) > 0:
		c.watch(unix.EPOLLOUT)
	case c.phase == talking:
		c.watch(unix.EPOLLIN)
	case c.interest == unix.EPOLLOUT:
		c.watch(0)
	}
	// A session that is served elsewhere goes on being watched: most clients
	// are silent meanwhile, and the calls to change it are saved. If one is
	// not, event stops listening.
}

// watch tells epoll what is of interest; errors are seen with any of it.
func (c *conn) watch(events uint32) {
	if c.interest == events || c.phase == closed {
		return
	}
	c.interest = events
	if err := c.loop.watch(unix.EPOLL_CTL_MOD, c.fd, events, c.generation); err != nil {
		c.loop.server.log.Error("cannot watch a connection", "remote", c.peer, "error", err)
		c.drop()
	}
}

// goOnLater has the loop call readable in its next round.
func (c *conn) goOnLater() {
	if !c.queued {
		c.queued = true
		c.loop.again = append(c.loop.again, c)
	}
}

// keep holds input back until the session can consume it. It may lie in the
// scratch buffer or in c.pending itself.
func (c *conn) keep(in []byte) {
	if len(in) == 0 {
		c.pending = nil
		return
	}
	c.pending = append(c.pending[:0], in...)
}

// expired acts on a deadline that is over. The timer has been renewed.
func (c *conn) expired() {
	l := c.loop
	switch c.phase {
	case talking, roomless:
		if c.phase == roomless {
			c.memory.leave()
		} else if len(c.unsent) > 0 { // it does not read: a reply would not reach it
			l.server.counters.expired.Add(1)
			c.drop()
			return
		}
		out := c.session.Expired(l.out[:0])
		if c.session.Wish() == session.WishClose {
			l.server.counters.expired.Add(1)
		}
		c.rejoin(out)
	case shaking:
		l.server.counters.expired.Add(1)
		c.cancelShake(errHandshakeTimeout)
	case closing:
		c.close()
	}
}

// errAgain says that there is nothing to read now. It is a net.Error that is
// temporary, the one kind that crypto/tls forgets (tls.Conn.readRecordOrCCS).
var errAgain error = again{}

type again struct{}

func (again) Error() string   { return "nothing to read now" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// read returns what the client sent: n > 0, or errAgain, io.EOF when it has
// closed its side, or what is wrong with the connection.
func (c *conn) read(p []byte) (n int, err error) {
	if c.secured == nil {
		return readSocket(c.fd, p)
	}
	n, err = c.secured.Read(p)
	switch {
	case n > 0:
		return n, nil
	case errors.Is(err, io.ErrUnexpectedEOF): // no close_notify: common, and no error
		return 0, io.EOF
	}
	return 0, err
}

// readSocket is read(2) with io.Reader's errors.
func readSocket(fd int, p []byte) (int, error) {
	for {
		switch n, err := unix.Read(fd, p); {
		case n > 0:
			return n, nil
		case err == nil:
			return 0, io.EOF
		case err == unix.EAGAIN:
			return 0, errAgain
		case err != unix.EINTR:
			return 0, err
		}
	}
}
