package smtpd

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// readable reads input and feeds it to the session, up to a bound.
func (c *conn) readable() {
	reads := readsPerStep
	if c.tls != nil {
		reads = tlsReadsPerStep
	}
	for range reads {
		if c.phase != awaitingInput || len(c.unsent) > 0 {
			return
		}
		more := c.readOnce()
		if c.phase == awaitingInput && c.tls != nil {
			c.send(nil, 0) // records that crypto/tls wrote, such as a KeyUpdate
		}
		if !more {
			c.acknowledgeText()
			return
		}
	}
	if c.phase == awaitingInput {
		c.readLater()
	}
}

// acknowledgeText makes the kernel acknowledge received text at once, when the loop waits for the
// rest of a message for the first time after a reply. A client without TCP_NODELAY, such as nginx,
// sends an incomplete segment only after that, and the kernel delays an acknowledgement that
// follows a reply by 40 ms (tcp(7)).
func (c *conn) acknowledgeText() {
	if c.phase == awaitingInput && !c.acknowledges && c.session.Space() != nil {
		c.acknowledges = true
		_ = quickACK(c.fd) // fails on a unix socket, which needs no acknowledgements
	}
}

// quickACK sends a delayed acknowledgement, and ends the delay until the next reply.
func quickACK(fd int) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
}

// readOnce reads once. It returns false if there is no more input to read now.
func (c *conn) readOnce() (more bool) {
	l := c.loop
	var n, size int
	var err error
	var in []byte
	out := l.out[:0]
	if space := c.session.Space(); space != nil && len(c.pending) == 0 {
		// Text is read into the message's buffer. The bytes after the end of the
		// text must fit into scratch.
		space = space[:min(len(space), scratchSize)]
		size = len(space)
		if n, err = c.read(space); n > 0 {
			var rest []byte
			rest, out = c.session.Filled(n, out)
			in = l.scratch[:copy(l.scratch, rest)]
		}
	} else {
		copied := copy(l.scratch, c.pending)
		size = len(l.scratch) - copied
		if n, err = c.read(l.scratch[copied:]); n > 0 {
			in = l.scratch[:copied+n]
		}
	}
	switch {
	case n > 0:
		c.lastProgress = l.now
		c.emptied = n < size && c.tls == nil
		c.proceed(in, out)
		return !c.emptied
	case err == errAgain:
		return false
	case err == io.EOF:
		c.inputEnded = true
		c.session.Abort()
		c.finish(nil)
	case c.tls != nil:
		c.failTLS(err)
	default:
		c.abort()
	}
	return false
}

// readLater makes the loop call readable in its next round.
func (c *conn) readLater() {
	if !c.queued {
		c.queued = true
		c.loop.unfinished = append(c.loop.unfinished, c)
	}
}

// keep stores input until the session can consume it. The input may be in the
// scratch buffer or in c.pending itself.
func (c *conn) keep(in []byte) {
	if len(in) == 0 {
		c.pending = nil
		return
	}
	c.pending = append(c.pending[:0], in...)
}

// errAgain means that the socket has no input now. It is a temporary net.Error:
// after any other error crypto/tls does not read the connection again
// (tls.Conn.readRecordOrCCS).
var errAgain error = again{}

type again struct{}

func (again) Error() string   { return "nothing to read now" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// read returns n > 0 bytes of input, or errAgain, io.EOF if the client has closed
// its side, or the error of the connection.
func (c *conn) read(p []byte) (n int, err error) {
	if c.tls == nil {
		return readSocket(c.fd, p)
	}
	n, err = c.tls.Read(p)
	switch {
	case n > 0:
		return n, nil
	case errors.Is(err, io.ErrUnexpectedEOF): // no close_notify: common, not an error
		return 0, io.EOF
	}
	return 0, err
}

// readSocket is read(2) with the errors of io.Reader and errAgain.
func readSocket(fd int, p []byte) (int, error) {
	for {
		switch n, err := rawIO(unix.SYS_READ, fd, p); {
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
