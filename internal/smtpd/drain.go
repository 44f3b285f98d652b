package smtpd

import (
	"time"

	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
)

// drainPatience is how long a transaction may stand still while the server
// drains.
const drainPatience = 5 * time.Second

// drainInterval is how often that is looked at.
const drainInterval = 250 * time.Millisecond

// drain begins to end the loop: nobody is accepted, who is idle gets 421, the
// others after their transaction. It runs on the loop's thread, as all here.
func (l *loop) drain() {
	l.draining = true
	l.deafen()
	l.drainTick = l.now + drainInterval
	l.each(func(c *conn) {
		c.moved = l.now
		switch c.phase {
		case talking, roomless, checking, saving:
			out := c.session.Drain(l.out[:0])
			if c.phase == talking && c.session.Wish() == session.WishClose {
				c.proceed(nil, out)
			}
		case shaking:
			c.cancelShake(errShuttingDown)
		case meeting:
			c.drop()
		}
	})
}

// cutIdlers ends transactions whose client does nothing.
func (l *loop) cutIdlers() {
	l.drainTick = l.now + drainInterval
	l.each(func(c *conn) {
		if l.now-c.moved < drainPatience {
			return
		}
		switch c.phase {
		case talking:
			if len(c.unsent) > 0 {
				c.drop()
				return
			}
			c.proceed(nil, c.session.Cut(l.out[:0]))
		case roomless:
			c.memory.leave()
			c.proceed(nil, c.session.Cut(l.out[:0]))
		case closing:
			c.close()
		}
	})
}

// cut ends the loop with this round, whatever goes on; only handshakes are
// waited for, since their goroutines use the descriptors.
func (l *loop) cut() {
	l.cutting = true
	l.each(func(c *conn) {
		if c.phase == shaking {
			c.cancelShake(errShuttingDown)
		}
	})
}

// abandon ends what is left when the loop does: each client that can be told
// is told. What is being saved stands, but its client does not hear of it, and
// will send it again.
func (l *loop) abandon() {
	l.each(func(c *conn) {
		if c.phase <= saving && len(c.unsent) == 0 {
			c.send(smtp.ReplyShuttingDown.Append(l.out[:0]), 0)
		}
		c.drop()
	})
}

// each calls f with every connection.
func (l *loop) each(f func(*conn)) {
	for _, c := range l.conns {
		if c != nil {
			l.guarded(c, func() { f(c) })
		}
	}
}
