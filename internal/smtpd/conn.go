package smtpd

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/session"
)

// Bounds of one connection.
const (
	readsPerStep    = 4  // read calls before the loop continues with other connections
	tlsReadsPerStep = 16 // reads of TLS records, of at most 16 KiB each
	// feedSize is the maximum number of bytes of one Feed call. It bounds the
	// replies that the call returns; a command line fits.
	feedSize = session.MaxLine + 512
	// outHigh is the length in bytes at which replies are sent before more input
	// is fed. No input is read while replies are unsent, so a connection keeps at
	// most outHigh, the replies to feedSize bytes (about 150 KiB if all commands
	// are EHLO) and scratchSize bytes of input.
	outHigh = 16 << 10
)

// phase is the state of a connection. The comments name what the connection waits for.
type phase uint8

const (
	awaitingInput  phase = iota // input, or the client to read unsent replies
	awaitingMemory              // noteMemory
	checking                    // noteChecked; no deadline runs
	saving                      // noteSaved; no deadline runs
	handshaking                 // noteHandshake
	awaitingHeader              // before the greeting: a PROXY header, or the first bytes of an untrusted peer
	flushing                    // the client to read the last replies
	lingering                   // the client to close its side
	closed                      // nothing; the descriptor is closed
)

// conn is one connection. If the client disconnects while its message is being
// saved, the conn outlives its descriptor.
type conn struct {
	loop    *loop
	session *session.Session
	memory  claim
	timer   timer          // in at most one list of deadlines
	peer    netip.AddrPort // of the socket, or the client that a trusted proxy reports
	tls     *tlsLayer      // nil without TLS

	pending []byte // input that the session has not consumed
	unsent  []byte // output that the socket has not accepted

	progress     uint64        // the session's, when the deadline was last renewed
	lastProgress time.Duration // when the last input or result of a wait arrived; on the loop's clock
	fd           int           // -1 when closed
	interest     uint32        // the events that epoll watches
	generation   int32
	discarded    int32 // bytes discarded in phase lingering
	phase        phase
	counted      bool // by the limiter, for its address
	queued       bool // in loop.unfinished
	emptied      bool // the last read emptied the socket; never inside TLS
	inputEnded   bool // the client sends no more input, or only input to ignore
	broken       bool // the session panicked and must not be called again
	untrusted    bool // in phase awaitingHeader: the peer may not send a PROXY header
	acknowledges bool // the kernel delays no acknowledgement until the next reply
	implicitTLS  bool // a TLS handshake precedes the greeting
}

// event handles the events that epoll reports.
func (c *conn) event(events uint32) {
	const failed = unix.EPOLLERR | unix.EPOLLHUP
	switch c.phase {
	case awaitingInput:
		if len(c.unsent) > 0 {
			c.resume(c.loop.out[:0]) // sends the unsent bytes
			return
		}
		if c.tls != nil {
			c.tls.wire.emptied = false
		}
		c.readable() // also after an error, since there may be input before it
	case awaitingMemory, checking, saving:
		switch {
		case events&failed != 0:
			c.abort()
		case events&unix.EPOLLOUT != 0:
			c.send(nil, 0)
			c.updateInterest()
		default: // input, or its end: neither is read in these phases
			c.watch(0)
		}
	case handshaking:
		c.handshakeReady()
	case awaitingHeader:
		c.readHeader()
	case flushing:
		c.send(nil, 0)
		c.closeFlushed()
	case lingering:
		c.linger()
	}
}

// proceed runs the session until the session must wait: it feeds the bytes of in,
// sends the replies, and carries out the session's requests. out has replies that are
// not sent yet. The replies to a pipelined group are sent in one write.
func (c *conn) proceed(in, out []byte) {
	s := c.session
	for c.phase != closed {
		switch s.Request() {
		case session.RequestInput:
			c.phase = awaitingInput
			incomplete := false // in is an incomplete command
			if len(in) > 0 && len(c.unsent) == 0 {
				used := 0
				used, out = s.Feed(in[:min(len(in), feedSize)], out)
				in = in[used:]
				incomplete = used == 0 && s.Request() == session.RequestInput
				if len(out) >= outHigh {
					out = c.send(out, 0)
				}
				if !incomplete {
					continue
				}
			}
			c.keep(in)
			out = c.send(out, 0)
			// The input may have waited for unsent replies, which are sent now.
			if len(in) > 0 && !incomplete && len(c.unsent) == 0 {
				in = c.pending
				continue
			}
			c.updateInterest()
		case session.RequestMemory:
			c.keep(in)
			c.send(out, 0)
			c.awaitMemory()
		case session.RequestRecipient:
			c.keep(in)
			c.check()
			c.send(out, 0)
			c.updateInterest()
		case session.RequestSave:
			c.keep(in)
			c.save()
			c.send(out, 0)
			c.updateInterest()
		case session.RequestStartTLS:
			c.keep(nil) // discards clear text after STARTTLS
			c.send(out, 0)
			c.startTLS(nil)
		case session.RequestClose:
			c.finish(out)
		}
		return
	}
}

// resume continues with the input that was kept, after unsent replies or the
// result of a request.
func (c *conn) resume(out []byte) {
	c.proceed(c.pending, out)
	if c.tls != nil && c.phase == awaitingInput {
		c.readLater() // crypto/tls may hold input that epoll does not report
	}
}

// updateInterest watches for the events that the phase needs, and renews the
// deadline if the session has made progress.
func (c *conn) updateInterest() {
	if c.phase == closed {
		return
	}
	if progress := c.session.Progress(); progress != c.progress && c.phase != saving && c.phase != checking {
		c.progress = progress
		c.loop.deadlines.renew(&c.timer, c.loop.now)
	}
	switch {
	case len(c.unsent) > 0:
		c.watch(unix.EPOLLOUT)
	case c.phase == awaitingInput:
		c.watch(unix.EPOLLIN)
	case c.interest == unix.EPOLLOUT:
		c.watch(0)
	}
	// A session that waits for a note stays watched for input: most clients send
	// nothing meanwhile, which saves two epoll_ctl calls. If input arrives, event
	// stops watching.
}

// watch sets the events that epoll watches; epoll always reports errors as well.
func (c *conn) watch(events uint32) {
	if c.interest == events || c.phase == closed {
		return
	}
	c.interest = events
	if err := c.loop.watch(unix.EPOLL_CTL_MOD, c.fd, events, c.generation); err != nil {
		c.loop.server.log.Error("cannot watch the connection, closing it", "remote", c.peer, "error", err)
		c.abort()
	}
}

// expired handles a deadline that has passed. The timer has been renewed.
func (c *conn) expired() {
	l := c.loop
	switch c.phase {
	case awaitingInput, awaitingMemory:
		if c.phase == awaitingMemory {
			c.memory.dequeue()
		} else if len(c.unsent) > 0 { // the client does not read: a reply would not reach it
			l.server.counters.expired.Add(1)
			c.abort()
			return
		}
		out := c.session.Expired(l.out[:0])
		if c.session.Request() == session.RequestClose {
			l.server.counters.expired.Add(1)
		}
		c.resume(out)
	case handshaking:
		l.server.counters.expired.Add(1)
		c.cancelHandshake(errHandshakeTimeout)
	case flushing:
		c.close()
	}
}
