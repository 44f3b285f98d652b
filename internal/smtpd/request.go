package smtpd

import (
	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
)

// This file carries out a session's requests and returns the results to the session.

// save passes the session's message to Options.Save. Until the outcome arrives,
// the loop reads no input of the client and no deadline runs. If the client
// disconnects, the message is saved nevertheless.
func (c *conn) save() {
	l := c.loop
	c.phase = saving
	c.timer.stop()
	l.saving++
	l.server.save(c.session.Envelope(), func(err error) {
		l.post(note{kind: noteSaved, conn: c, err: err})
	})
}

// saved passes the outcome of its message to the session.
func (c *conn) saved(err error) {
	l := c.loop
	l.saving--
	if c.broken {
		return
	}
	out := c.session.Saved(err, l.out[:0])
	if c.phase == closed { // the client disconnected; Saved has released the message's buffer
		return
	}
	c.lastProgress = l.now
	c.progress = c.session.Progress()
	l.deadlines.renew(&c.timer, l.now)
	c.resume(out)
}

// check starts the lookup of the session's recipient. Until the answer arrives,
// the loop reads no input of the client and no deadline runs; the lookup has its
// own time limit.
func (c *conn) check() {
	l := c.loop
	c.phase = checking
	c.timer.stop()
	c.session.Check(func(refusal *smtp.Reply) {
		l.post(note{kind: noteChecked, conn: c, refusal: refusal})
	})
}

// checked passes the result of the lookup to the session.
func (c *conn) checked(refusal *smtp.Reply) {
	l := c.loop
	if c.phase != checking { // the client disconnected
		return
	}
	out := c.session.Checked(refusal, l.out[:0])
	c.lastProgress = l.now
	c.progress = c.session.Progress()
	l.deadlines.renew(&c.timer, l.now)
	c.resume(out)
}

// awaitMemory waits for memory. The loop reads no input of the client, so TCP's
// flow control slows the client down; the deadline keeps running.
func (c *conn) awaitMemory() {
	if c.phase == closed {
		return
	}
	c.phase = awaitingMemory
	c.updateInterest()
	c.memory.enqueue(func() { c.loop.post(note{kind: noteMemory, conn: c}) })
}

// memoryGranted lets the session allocate the memory that the budget granted.
func (c *conn) memoryGranted() {
	if !c.memory.hasGrant() { // the deadline or the end of the connection came first
		return
	}
	out := c.session.MemoryAvailable(true, c.loop.out[:0])
	if c.session.Request() == session.RequestMemory { // the system has no memory: refuse the message
		c.memory.dequeue()
		out = c.session.MemoryAvailable(false, out)
	}
	c.resume(out)
}
