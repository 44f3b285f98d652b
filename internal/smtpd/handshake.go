package smtpd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"

	"golang.org/x/sys/unix"
)

// crypto/tls cannot suspend a handshake that lacks input. So each handshake has
// a goroutine, from the client's first bytes until it is complete. After that,
// crypto/tls never waits (tls.go) and needs no goroutine, so an idle connection
// costs no stack.
//
// While the goroutine runs, only the goroutine uses the descriptor and the TLS
// state. The loop notifies the goroutine when the socket is ready, and cancels
// the handshake.

var (
	errHandshakeTimeout = errors.New("handshake timed out")
	errShuttingDown     = errors.New("shutting down")
	errInternal         = errors.New("internal error")
)

// handshake is a TLS handshake in progress.
type handshake struct {
	conn    *conn
	ready   chan struct{} // capacity 1: the socket is ready
	cancel  chan struct{} // closed by the loop
	cause   error         // of the cancellation; set before cancel is closed
	started bool          // the goroutine was started

	hello      []byte  // the part of the client's first record that crypto/tls has not read
	recordType [3]byte // type and version of that record
	fragment   int     // bytes of the small records that crypto/tls reads instead
}

// startTLS waits for the first bytes of the client's handshake, so that a client
// that sends none costs no goroutine. in has the bytes that have arrived already.
func (c *conn) startTLS(in []byte) {
	if c.phase == closed {
		return
	}
	config := c.loop.server.settings.Load().TLS
	if config == nil { // a reload removed the certificate after STARTTLS was offered
		c.abort()
		return
	}
	c.phase = handshaking
	w := &wire{fd: c.fd, loop: c.loop, arrived: bytes.Clone(in)}
	c.pending = nil
	w.handshake = &handshake{conn: c, ready: make(chan struct{}, 1), cancel: make(chan struct{})}
	c.tls = &tlsLayer{Conn: tls.Server(w, config), wire: w}
	c.progress = c.session.Progress()
	c.loop.deadlines.renew(&c.timer, c.loop.now)
	if len(c.unsent) > 0 {
		c.watch(unix.EPOLLOUT)
		return
	}
	c.watch(unix.EPOLLIN | unix.EPOLLONESHOT)
	if len(in) > 0 {
		c.handshakeReady()
	}
}

// handshakeReady handles the event that the socket is ready in phase handshaking.
func (c *conn) handshakeReady() {
	h := c.tls.wire.handshake
	if h.started {
		select {
		case h.ready <- struct{}{}:
		default: // the goroutine has not received the previous notification yet
		}
		return
	}
	if len(c.unsent) > 0 { // the reply to STARTTLS, in clear
		c.transmit(nil, 0)
		if c.phase == handshaking && len(c.unsent) == 0 {
			c.watch(unix.EPOLLIN | unix.EPOLLONESHOT)
		}
		return
	}
	h.started = true
	c.loop.handshakes++
	go func() {
		h.conn.loop.post(note{kind: noteHandshake, conn: h.conn, err: h.run()})
	}()
}

// run performs the handshake. A panic ends only this connection.
func (h *handshake) run() (err error) {
	defer func() {
		if r := recover(); r != nil {
			h.conn.panicked(r)
			err = errInternal
		}
	}()
	if err := h.readHello(h.conn.tls.wire); err != nil {
		return err
	}
	return h.conn.tls.Handshake()
}

// cancelHandshake ends a handshake, immediately if its goroutine was not started yet.
func (c *conn) cancelHandshake(cause error) {
	h := c.tls.wire.handshake
	if !h.started {
		c.handshakeDone(cause)
		return
	}
	if h.cause == nil {
		h.cause = cause
		close(h.cancel)
	}
}

// handshakeDone continues the session after the handshake, or finishes the
// connection if the handshake failed.
func (c *conn) handshakeDone(err error) {
	l := c.loop
	if c.tls.wire.handshake.started {
		l.handshakes--
	}
	c.tls.wire.handshake = nil
	c.lastProgress = l.now
	if err != nil {
		l.server.counters.tlsFailed.Add(1)
		l.server.log.Log(context.Background(), tlsLevel(err), "TLS handshake failed", "remote", c.peer, "error", err)
		c.tls = nil
		c.session.Abort()
		c.finish(nil)
		return
	}
	l.server.handshakeCompleted()
	state := c.tls.ConnectionState()
	if state.Version == tls.VersionTLS12 {
		l.server.counters.tls12.Add(1)
	} else {
		l.server.counters.tls13.Add(1)
	}
	// A client without TCP_NODELAY sends no command until its Finished message is
	// acknowledged, and the kernel delays the acknowledgement by 40 ms (tcp(7)).
	// The call fails on a unix socket, which needs no acknowledgements.
	_ = quickACK(c.fd)
	c.session.TLSStarted(tlsVersion(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite))
	c.interest = 0 // EPOLLONESHOT may have disabled the events of the goroutine
	out := l.out[:0]
	if c.implicitTLS {
		out = c.session.Greet(out)
	}
	if l.draining {
		out = c.session.Drain(out)
	}
	c.resume(out)
}

// wait blocks the goroutine until the socket is ready for events.
func (h *handshake) wait(fd int, events uint32) error {
	// With EPOLLONESHOT the loop receives no events between two waits.
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

// tlsVersion returns the name of a version without a blank, for the Received
// field.
func tlsVersion(v uint16) string {
	switch v {
	case tls.VersionTLS12:
		return "TLS1.2"
	case tls.VersionTLS13:
		return "TLS1.3"
	}
	return tls.VersionName(v)
}
