package smtpd

import (
	"time"

	"goguerrillad/internal/smtp"
)

// Where PROXY headers are required of trusted proxies, nobody is greeted
// before it is clear who speaks: a proxy gets headerTime to say for whom; any
// other peer is heard for a moment, and closed if it claims to be a proxy.
const (
	headerTime   = 5 * time.Second
	strangerTime = 200 * time.Millisecond
)

// meet waits for what a new connection says by itself.
func (c *conn) meet(trusted bool) {
	c.phase = meeting
	c.stranger = !trusted
	c.introductions().renew(&c.timer, c.loop.now)
}

// introductions is the list that the timer of a connection in phase meeting is
// in.
func (c *conn) introductions() *deadlines {
	if c.stranger {
		return &c.loop.strangers
	}
	return &c.loop.headers
}

// introduced reads what came before the greeting.
func (c *conn) introduced() {
	l := c.loop
	kept := copy(l.scratch, c.pending)
	n, err := readSocket(c.fd, l.scratch[kept:])
	if err == errAgain {
		return
	}
	if err != nil {
		c.drop()
		return
	}
	in := l.scratch[:kept+n]
	if c.stranger {
		if claims, more := smtp.ClaimsProxyHeader(in); more {
			c.keep(in)
		} else if claims {
			c.refuseHeader("a PROXY header from a peer that is not trusted")
		} else {
			c.welcomed(in, c.session.Greet(l.out[:0]))
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
		c.welcomed(in[length:], c.session.Greet(l.out[:0]))
	default:
		if refusal := c.session.Introduce(header.Client, header.TLS); refusal != nil {
			c.conclude(refusal.Append(l.out[:0]))
			return
		}
		c.welcomed(in[length:], c.session.Greet(l.out[:0]))
	}
}

// welcomed begins the session with its greeting.
func (c *conn) welcomed(in, out []byte) {
	c.loop.deadlines.renew(&c.timer, c.loop.now)
	c.phase = talking
	c.proceed(in, out)
}

// refuseHeader closes without a greeting.
func (c *conn) refuseHeader(reason string) {
	c.loop.server.counters.refusedHeaders.Add(1)
	c.loop.server.log.Warn("PROXY header refused", "remote", c.peer, "reason", reason)
	c.drop()
}

// unheard acts on the end of the time for a header.
func (c *conn) unheard() {
	if c.stranger {
		c.welcomed(c.pending, c.session.Greet(c.loop.out[:0]))
		return
	}
	c.refuseHeader("none came in time")
}
