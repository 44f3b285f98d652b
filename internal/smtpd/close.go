package smtpd

import (
	"time"

	"golang.org/x/sys/unix"
)

// These functions end a connection:
//
//   - close closes the descriptor and releases the resources of the connection.
//   - abort ends the session without a reply, then closes.
//   - finish sends the last replies, then closes.
//
// The server drains (drain.go): each session ends after its transaction. It
// terminates the remaining sessions: they end with 421 even during a transaction.

// If a socket is closed while input is unread, or if more input arrives later,
// TCP sends a reset, which can destroy the last reply on its way to the client.
// So the server first closes only its own side and discards the input that
// arrives, unless the client has closed its side or sent QUIT.
const (
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

// finish sends the last replies and then closes the connection.
func (c *conn) finish(out []byte) {
	if c.phase == closed {
		return
	}
	c.session.Abort()
	c.keep(nil)
	c.phase = flushing
	// Inside TLS emptied is never true, since a close_notify may follow QUIT.
	if c.emptied && c.session.QuitReceived() {
		c.inputEnded = true
	}
	flags := 0
	if c.inputEnded {
		flags = unix.MSG_MORE // close sends the replies and the FIN in one segment
	}
	if c.tls != nil {
		// Both fail only if crypto/tls has written an alert, which ends the
		// connection.
		_, _ = c.tls.Write(out)
		_ = c.tls.CloseWrite()
		out = nil
	}
	c.send(out, flags)
	c.closeFlushed()
}

// closeFlushed closes a connection in phase flushing when all replies are sent.
func (c *conn) closeFlushed() {
	switch {
	case c.phase != flushing:
	case len(c.unsent) > 0:
		c.watch(unix.EPOLLOUT)
	case c.inputEnded:
		c.close()
	default:
		if err := unix.Shutdown(c.fd, unix.SHUT_WR); err != nil {
			c.close()
			return
		}
		c.phase = lingering
		c.tls = nil
		c.loop.lingering.renew(&c.timer, c.loop.now)
		c.watch(unix.EPOLLIN)
	}
}

// linger discards the input that still arrives.
func (c *conn) linger() {
	n, err := readSocket(c.fd, c.loop.scratch)
	c.discarded += int32(n)
	if err != nil && err != errAgain || c.discarded > lingerBytes {
		c.close()
	}
}

// abort closes a connection without more replies.
func (c *conn) abort() {
	if c.phase == closed {
		return
	}
	c.session.Abort() // does not affect a message that is being saved
	c.close()
}

// closeBroken closes a connection whose session has panicked. The session is not
// called again, and its memory returns to the budget. A buffer that is being
// saved is left to the garbage collector, or leaks if it is a mapping.
func (c *conn) closeBroken() {
	c.broken = true
	c.close()
	c.memory.releaseAll()
}

// close closes the descriptor and releases the resources of the connection.
func (c *conn) close() {
	if c.phase == closed {
		return
	}
	l := c.loop
	if c.phase == awaitingMemory {
		c.memory.dequeue()
	}
	c.phase = closed
	c.timer.stop()
	c.pending, c.unsent, c.tls = nil, nil, nil
	l.conns[c.fd] = nil
	l.live--
	unix.Close(c.fd) // also removes it from the epoll instance
	c.fd = -1
	l.server.uncount(c.peer.Addr(), c.counted)
}
