package smtpd

import (
	"time"

	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
)

// stallTime is how long a transaction may make no progress while the server
// drains.
const stallTime = 5 * time.Second

// stallCheckInterval is the time between two checks for stalled transactions.
const stallCheckInterval = 250 * time.Millisecond

// drain starts the shutdown of the loop: the loop accepts no more connections, and
// each session receives 421 when it is idle. All functions of this file run on the loop's
// thread.
func (l *loop) drain() {
	l.draining = true
	l.unwatchListeners()
	l.stallCheckAt = l.now + stallCheckInterval
	l.each(func(c *conn) {
		c.lastProgress = l.now
		switch c.phase {
		case awaitingInput, awaitingMemory, checking, saving:
			out := c.session.Drain(l.out[:0])
			if c.phase == awaitingInput && c.session.Request() == session.RequestClose {
				c.proceed(nil, out)
			}
		case handshaking:
			c.cancelHandshake(errShuttingDown)
		case awaitingHeader:
			c.abort()
		}
	})
}

// terminateStalled terminates transactions that make no progress.
func (l *loop) terminateStalled() {
	l.stallCheckAt = l.now + stallCheckInterval
	l.each(func(c *conn) {
		if l.now-c.lastProgress < stallTime {
			return
		}
		switch c.phase {
		case awaitingInput:
			if len(c.unsent) > 0 {
				c.abort()
				return
			}
			c.proceed(nil, c.session.Terminate(l.out[:0]))
		case awaitingMemory:
			c.memory.dequeue()
			c.proceed(nil, c.session.Terminate(l.out[:0]))
		case flushing:
			c.close()
		}
	})
}

// terminate ends the loop after this round. It waits only for the goroutines of
// TLS handshakes, since they use the descriptors.
func (l *loop) terminate() {
	l.terminating = true
	l.each(func(c *conn) {
		if c.phase == handshaking {
			c.cancelHandshake(errShuttingDown)
		}
	})
}

// closeAll aborts the connections that are left when the loop ends, and sends
// 421 to the clients that can still receive it. A message that is being saved
// may be stored although its client received 421; the client sends it again.
func (l *loop) closeAll() {
	l.each(func(c *conn) {
		if c.phase <= saving && len(c.unsent) == 0 {
			c.send(smtp.ReplyShuttingDown.Append(l.out[:0]), 0)
		}
		c.abort()
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
