package smtpd

import (
	"time"

	"golang.org/x/sys/unix"
)

// A connection ends by one of these verbs:
//
//   - close: close the descriptor now and release what the connection holds.
//   - abort: tell the session that the connection is gone, then close.
//   - finish: send the last replies, then close.
//   - terminate: end the session with 421 even during a transaction.
//
// The server drains (drain.go): each session finishes after its transaction.

// If a socket is closed while input is unread, or if more input arrives after
// that, TCP sends a reset, which can destroy the last reply on its way to the
// client. So, unless the client has closed its side or sent QUIT, the server
// closes only its own side first, and discards the input that arrives.
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
	if c.emptied && c.session.QuitReceived() { // inside TLS a close_notify may be on its way
		c.inputEnded = true
	}
	flags := 0
	if c.inputEnded {
		flags = unix.MSG_MORE // close sends the replies and the FIN in one segment
	}
	if c.secured != nil {
		// Both fail only if crypto/tls has written an alert, which ends the
		// connection.
		_, _ = c.secured.Write(out)
		_ = c.secured.CloseWrite()
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
		c.secured = nil
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
	c.session.Abort() // a message that is being saved stays
	c.close()
}

// closeBroken closes a connection whose session has panicked: the session is not
// called again, and the budget takes its memory back. A buffer that is being
// saved is left to the garbage collector, or leaks if it is a mapping.
func (c *conn) closeBroken() {
	c.broken = true
	c.close()
	c.memory.releaseAll()
}

// close closes the descriptor and releases what the connection holds.
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
	c.pending, c.unsent, c.secured = nil, nil, nil
	l.conns[c.fd] = nil
	l.live--
	unix.Close(c.fd) // also removes it from the epoll instance
	c.fd = -1
	l.server.uncount(c.peer.Addr(), c.counted)
}
