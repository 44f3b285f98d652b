package smtpd

import (
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
)

// What a session wishes for, and how the answer comes back.

// save hands the session's message over. Until its outcome comes the client
// is not heard and has no deadline; should it go away, the message stands.
func (c *conn) save() {
	l := c.loop
	c.phase = saving
	c.timer.stop()
	l.saving++
	l.server.counters.submitted.Add(1)
	l.server.save(c.session.Envelope(), func(err error) {
		l.post(note{kind: noteSaved, conn: c, err: err})
	})
}

// outcome tells the session what became of its message.
func (c *conn) outcome(err error) {
	l := c.loop
	l.saving--
	if err == nil {
		l.server.counters.saved.Add(1)
	} else {
		l.server.counters.notSaved.Add(1)
	}
	if c.broken {
		return
	}
	out := c.session.Saved(err, l.out[:0])
	if c.phase == closed { // the client has gone; now the message's buffer goes too
		return
	}
	c.moved = l.now
	c.turns = c.session.Turns()
	l.deadlines.renew(&c.timer, l.now)
	c.rejoin(out)
}

// check has the session's recipient asked for. Until the answer comes the
// client is not heard and has no deadline: an answer never takes long.
func (c *conn) check() {
	l := c.loop
	c.phase = checking
	c.timer.stop()
	c.session.Check(func(refusal *smtp.Reply) {
		l.post(note{kind: noteChecked, conn: c, refusal: refusal})
	})
}

// checked tells the session what its recipient meets.
func (c *conn) checked(refusal *smtp.Reply) {
	l := c.loop
	if c.phase != checking { // the client has gone
		return
	}
	out := c.session.Checked(refusal, l.out[:0])
	c.moved = l.now
	c.turns = c.session.Turns()
	l.deadlines.renew(&c.timer, l.now)
	c.rejoin(out)
}

// awaitRoom queues for memory. The client is not heard, so its data stays
// where it is and TCP slows it down; its deadline goes on.
func (c *conn) awaitRoom() {
	if c.phase == closed {
		return
	}
	c.phase = roomless
	c.listen()
	c.memory.await(func() { c.loop.post(note{kind: noteRoom, conn: c}) })
}

// roomGranted tells the session that it can have its memory.
func (c *conn) roomGranted() {
	if !c.memory.served() { // the deadline or the client was faster
		return
	}
	out := c.session.Room(true, c.loop.out[:0])
	if c.session.Wish() == session.WishRoom { // the system has none: do not try for ever
		c.memory.leave()
		out = c.session.Room(false, out)
	}
	c.rejoin(out)
}
