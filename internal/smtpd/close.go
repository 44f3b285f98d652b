package smtpd

import (
	"time"

	"golang.org/x/sys/unix"
)

// A socket that is closed while input is unread, or to which input comes
// later, answers with a reset, and a reset can destroy the last reply on its
// way to the client. So, unless the client has closed its side or said QUIT,
// only our side is closed first, and what comes is read and thrown away.
const (
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

// conclude sends the last replies and closes.
func (c *conn) conclude(out []byte) {
	if c.phase == closed {
		return
	}
	c.session.Abort()
	c.keep(nil)
	c.phase = closing
	if c.drained && c.session.QuitReceived() { // inside TLS a close_notify may be on its way
		c.ended = true
	}
	flags := 0
	if c.ended {
		flags = unix.MSG_MORE // the close that follows sends it, in one segment with its own
	}
	if c.secured != nil {
		// They fail only if crypto/tls has sent an alert, which ends the
		// connection for the client.
		_, _ = c.secured.Write(out)
		_ = c.secured.CloseWrite()
		out = nil
	}
	c.send(out, flags)
	c.finish()
}

// finish closes once all has been sent.
func (c *conn) finish() {
	switch {
	case c.phase != closing:
	case len(c.unsent) > 0:
		c.watch(unix.EPOLLOUT)
	case c.ended:
		c.close()
	default:
		if err := unix.Shutdown(c.fd, unix.SHUT_WR); err != nil {
			c.close()
			return
		}
		c.phase = lingering
		c.secured = nil
		c.loop.lingering.renew(&c.timer, c.loop.now)
		c.watch(unix.EPOLLIN)
	}
}

// linger throws away what still comes.
func (c *conn) linger() {
	n, err := readSocket(c.fd, c.loop.scratch)
	c.discarded += int32(n)
	if err != nil && err != errAgain || c.discarded > lingerBytes {
		c.close()
	}
}

// drop closes a connection that is of no use any more.
func (c *conn) drop() {
	if c.phase == closed {
		return
	}
	c.session.Abort() // a message that is being saved stays
	c.close()
}

// discard is drop for a connection whose session cannot be trusted: it is not
// called again, and its memory is taken from it. A buffer that is being saved
// is left to the collector, or leaks.
func (c *conn) discard() {
	c.broken = true
	c.close()
	c.memory.forfeit()
}

// close gives the descriptor back, and all that belongs to it.
func (c *conn) close() {
	if c.phase == closed {
		return
	}
	l := c.loop
	if c.phase == roomless {
		c.memory.leave()
	}
	c.phase = closed
	c.timer.stop()
	c.pending, c.unsent, c.secured = nil, nil, nil
	l.conns[c.fd] = nil
	l.live--
	unix.Close(c.fd) // leaves the epoll by itself
	c.fd = -1
	l.server.dismiss(c.peer.Addr(), c.counted)
}
