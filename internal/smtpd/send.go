package smtpd

import "golang.org/x/sys/unix"

// send sends out after the unsent bytes, encrypted if TLS is on, and keeps the
// bytes that the socket does not accept. It returns an empty buffer for the next
// replies. If the connection fails, send aborts it.
func (c *conn) send(out []byte, flags int) []byte {
	if c.tls == nil {
		c.transmit(out, flags)
		return c.reuse(out)
	}
	if len(out) > 0 {
		if _, err := c.tls.Write(out); err != nil {
			c.flush(0) // crypto/tls has written an alert
			c.abort()
			return c.reuse(out)
		}
	}
	c.flush(flags)
	return c.reuse(out)
}

// reuse returns a reply buffer to the loop.
func (c *conn) reuse(out []byte) []byte {
	if cap(out) == 0 {
		return c.loop.out[:0]
	}
	if cap(out) > outKept {
		out = nil
	}
	c.loop.out = out[:0]
	return c.loop.out
}

// transmit sends the unsent bytes and p in one system call, and keeps the bytes
// that the socket does not accept.
func (c *conn) transmit(p []byte, flags int) {
	if c.fd < 0 || len(c.unsent)+len(p) == 0 {
		return
	}
	queued := len(c.unsent) > 0
	if queued {
		c.unsent = append(c.unsent, p...)
		p = c.unsent
	}
	c.acknowledges = false
	n, err := writeSocket(c.fd, p, flags)
	if err != nil {
		c.unsent = nil
		c.abort()
		return
	}
	switch p = p[n:]; {
	case len(p) == 0:
		c.unsent = nil
	case queued:
		c.unsent = p
	default:
		c.unsent = append([]byte(nil), p...)
	}
}

// writeSocket returns the number of bytes that the socket accepted, which may be
// 0.
func writeSocket(fd int, p []byte, flags int) (n int, err error) {
	for {
		if flags == 0 {
			n, err = rawIO(unix.SYS_WRITE, fd, p)
		} else {
			n, err = unix.SendmsgN(fd, p, nil, nil, flags)
		}
		switch err {
		case nil:
			return n, nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR:
		default:
			return 0, err
		}
	}
}
