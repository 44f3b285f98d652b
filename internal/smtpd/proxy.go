package smtpd

import (
	"time"

	"goguerrillad/internal/smtp"
)

// With Settings.ProxyProtocol, the greeting waits until the client is known. A
// trusted peer must send its PROXY header within headerTime. Any other peer
// receives the greeting after untrustedTime or after its first bytes. If these bytes
// begin a PROXY header, the server closes the connection.
const (
	headerTime    = 5 * time.Second
	untrustedTime = 200 * time.Millisecond
)

// awaitHeader waits for the first bytes of a new connection.
func (c *conn) awaitHeader(trusted bool) {
	c.phase = awaitingHeader
	c.untrusted = !trusted
	c.headerDeadlines().renew(&c.timer, c.loop.now)
}

// headerDeadlines returns the list of deadlines for phase awaitingHeader.
func (c *conn) headerDeadlines() *deadlines {
	if c.untrusted {
		return &c.loop.untrusted
	}
	return &c.loop.proxies
}

// readHeader reads input in phase awaitingHeader.
func (c *conn) readHeader() {
	l := c.loop
	copied := copy(l.scratch, c.pending)
	n, err := readSocket(c.fd, l.scratch[copied:])
	if err == errAgain {
		return
	}
	if err != nil {
		c.abort()
		return
	}
	in := l.scratch[:copied+n]
	if c.untrusted {
		if found, more := smtp.HasProxySignature(in); more {
			c.keep(in)
		} else if found {
			c.refuseHeader("the peer is not trusted")
		} else {
			c.greet(in)
		}
		return
	}
	header, length, err := smtp.ParseProxyHeader(in)
	switch {
	case err != nil:
		c.refuseHeader(err.Error())
	case length == 0:
		c.keep(in)
	case header.Local:
		c.greet(in[length:])
	default:
		if refusal := c.session.SetClient(header.Client, header.TLS); refusal != nil {
			c.finish(refusal.Append(l.out[:0]))
			return
		}
		c.greet(in[length:])
	}
}

// greet sends the greeting and feeds the input that has arrived before it. With implicit
// TLS, the handshake comes first, and the input belongs to it.
func (c *conn) greet(in []byte) {
	c.loop.deadlines.renew(&c.timer, c.loop.now)
	if c.implicitTLS {
		c.session.ImplicitTLS()
		c.startTLS(in)
		return
	}
	c.phase = awaitingInput
	c.proceed(in, c.session.Greet(c.loop.out[:0]))
}

// refuseHeader aborts the connection before the greeting.
func (c *conn) refuseHeader(reason string) {
	c.loop.server.counters.refusedHeaders.Add(1)
	c.loop.server.log.Warn("PROXY header refused", "remote", c.peer, "reason", reason)
	c.abort()
}

// headerExpired handles the deadline of phase awaitingHeader.
func (c *conn) headerExpired() {
	if c.untrusted {
		c.greet(c.pending)
		return
	}
	c.refuseHeader("timeout")
}
