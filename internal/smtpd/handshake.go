package smtpd

import (
	"context"
	"crypto/tls"
	"errors"

	"golang.org/x/sys/unix"
)

// crypto/tls runs a handshake in one go: it cannot be left when input is
// missing and entered again. So it has a goroutine, from the client's first
// bytes on until it is done; one at most for each connection. Afterwards
// crypto/tls never waits (tls.go) and the loop goes on by itself, so that an
// idle connection has neither a goroutine nor a stack.
//
// While the goroutine runs, the descriptor and the TLS state are its own; the
// loop only passes on that the socket is ready, and cancels.

var (
	errHandshakeTimeout = errors.New("handshake timed out")
	errShuttingDown     = errors.New("shutting down")
	errInternal         = errors.New("internal error")
)

// shake is a handshake in progress.
type shake struct {
	conn   *conn
	ready  chan struct{} // holds 1: the socket is ready
	cancel chan struct{} // closed by the loop
	cause  error         // why; set before cancel is closed
	begun  bool          // the goroutine runs
}

// startTLS waits for the client's first bytes. No goroutine is spent on a
// client that does not send any.
func (c *conn) startTLS() {
	if c.phase == closed {
		return
	}
	config := c.loop.server.settings.Load().TLS
	if config == nil { // withdrawn by a reload since STARTTLS was offered
		c.drop()
		return
	}
	c.phase = shaking
	w := &wire{fd: c.fd, loop: c.loop}
	w.shake = &shake{conn: c, ready: make(chan struct{}, 1), cancel: make(chan struct{})}
	c.secured = &secured{Conn: tls.Server(w, config), wire: w}
	c.turns = c.session.Turns()
	c.loop.deadlines.renew(&c.timer, c.loop.now)
	if len(c.unsent) > 0 {
		c.watch(unix.EPOLLOUT)
		return
	}
	c.watch(unix.EPOLLIN | unix.EPOLLONESHOT)
}

// shakeReady is called by the loop when the socket is ready.
func (c *conn) shakeReady() {
	h := c.secured.wire.shake
	if h.begun {
		select {
		case h.ready <- struct{}{}:
		default: // it knows already
		}
		return
	}
	if len(c.unsent) > 0 { // the 220, still in clear
		c.transmit(nil, 0)
		if c.phase == shaking && len(c.unsent) == 0 {
			c.watch(unix.EPOLLIN | unix.EPOLLONESHOT)
		}
		return
	}
	h.begun = true
	c.loop.shaking++
	go func() {
		h.conn.loop.post(note{kind: noteShaken, conn: h.conn, err: h.run()})
	}()
}

// run makes the handshake. A panic in it ends this connection only.
func (h *shake) run() (err error) {
	defer func() {
		if r := recover(); r != nil {
			h.conn.panicked(r)
			err = errInternal
		}
	}()
	return h.conn.secured.Handshake()
}

// cancelShake ends a handshake: at once, or as soon as its goroutine has
// noticed.
func (c *conn) cancelShake(cause error) {
	h := c.secured.wire.shake
	if !h.begun {
		c.shaken(cause)
		return
	}
	if h.cause == nil {
		h.cause = cause
		close(h.cancel)
	}
}

// shaken takes the connection back from the goroutine.
func (c *conn) shaken(err error) {
	l := c.loop
	if c.secured.wire.shake.begun {
		l.shaking--
	}
	c.secured.wire.shake = nil
	c.moved = l.now
	if err != nil {
		l.server.counters.tlsFailed.Add(1)
		l.server.log.Log(context.Background(), tlsLevel(err), "TLS handshake failed", "remote", c.peer, "error", err)
		c.secured = nil
		c.session.Abort()
		c.conclude(nil)
		return
	}
	state := c.secured.ConnectionState()
	if state.Version == tls.VersionTLS12 {
		l.server.counters.tls12.Add(1)
	} else {
		l.server.counters.tls13.Add(1)
	}
	// A client without TCP_NODELAY sends no command until its Finished is
	// acknowledged, and the kernel delays that by 40 ms (tcp(7)). The call
	// fails on a unix socket, which delays nothing.
	_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	c.session.TLSStarted(tlsVersion(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite))
	c.interest = 0 // the goroutine's last request may be spent
	out := l.out[:0]
	if l.draining {
		out = c.session.Drain(out)
	}
	c.rejoin(out)
}

// wait blocks the handshake's goroutine until the socket is ready for events.
func (h *shake) wait(fd int, events uint32) error {
	// One shot: what comes between two waits does not concern the loop.
	if err := h.conn.loop.watch(unix.EPOLL_CTL_MOD, fd, events|unix.EPOLLONESHOT, h.conn.generation); err != nil {
		return err
	}
	select {
	case <-h.ready:
		return nil
	case <-h.cancel:
		return h.cause
	}
}

// tlsVersion writes a version without a blank, as header fields have it.
func tlsVersion(v uint16) string {
	switch v {
	case tls.VersionTLS12:
		return "TLS1.2"
	case tls.VersionTLS13:
		return "TLS1.3"
	}
	return tls.VersionName(v)
}
