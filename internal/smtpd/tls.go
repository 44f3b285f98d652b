package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// tlsLayer is the TLS layer of a connection. After the handshake, its Read and
// its Write do not wait for the client.
type tlsLayer struct {
	*tls.Conn
	wire *wire
}

// wire is the net.Conn under crypto/tls. Read returns errAgain if the socket has
// no input; crypto/tls keeps the part of a record that it has and continues at
// the next Read. Write appends to records, which conn.send sends, because
// crypto/tls ends a connection whose write fails, even if only the socket's
// buffer is full. During the handshake, both wait for the socket instead.
//
// records belongs to this connection from the first Write until flush. If the
// connection is closed in between, its records are not reused, so that no other
// client can receive them.
type wire struct {
	fd        int
	loop      *loop
	handshake *handshake // nil after the handshake
	records   []byte     // records that flush has not sent yet
	emptied   bool       // the last read emptied the socket; false again after the next event
	arrived   []byte     // the first bytes of the handshake, which were read before it
}

func (w *wire) Read(p []byte) (int, error) {
	if w.handshake != nil {
		if n := w.handshake.readFragment(p); n > 0 {
			return n, nil
		}
	}
	if len(w.arrived) > 0 {
		n := copy(p, w.arrived)
		if w.arrived = w.arrived[n:]; len(w.arrived) == 0 {
			w.arrived = nil // releases its array
		}
		return n, nil
	}
	return w.readWaiting(p)
}

// readWaiting reads from the socket. During the handshake it waits for input.
func (w *wire) readWaiting(p []byte) (int, error) {
	for {
		if w.handshake == nil && w.emptied {
			return 0, errAgain // saves a system call
		}
		n, err := readSocket(w.fd, p)
		w.emptied = n < len(p) && err == nil
		if err != errAgain || w.handshake == nil {
			return n, err
		}
		if err := w.handshake.wait(w.fd, unix.EPOLLIN); err != nil {
			return 0, err
		}
	}
}

func (w *wire) Write(p []byte) (int, error) {
	if w.handshake == nil {
		if w.records == nil { // use the loop's empty buffer
			w.records, w.loop.records = w.loop.records, nil
		}
		w.records = append(w.records, p...)
		return len(p), nil
	}
	for sent := 0; ; {
		n, err := writeSocket(w.fd, p[sent:], 0)
		if sent += n; err != nil || sent == len(p) {
			return sent, err
		}
		if err := w.handshake.wait(w.fd, unix.EPOLLOUT); err != nil {
			return sent, err
		}
	}
}

// flush sends the records that crypto/tls wrote, and returns the buffer to the
// loop.
func (c *conn) flush(flags int) {
	w := c.tls.wire
	c.transmit(w.records, flags)
	if w.records != nil && cap(w.records) <= outKept {
		w.loop.records = w.records[:0]
	}
	w.records = nil
}

// failTLS finishes a connection after an error of crypto/tls. The client
// receives the alert that crypto/tls wrote (RFC 8446 section 6.2), and no
// close_notify after it.
func (c *conn) failTLS(err error) {
	c.loop.server.log.Log(context.Background(), tlsLevel(err), "TLS connection failed", "remote", c.peer, "error", err)
	c.session.Abort()
	c.flush(0)
	c.tls = nil
	c.finish(nil)
}

// tlsLevel returns the log level of an error of crypto/tls: debug if the client
// disconnected, which is common, or the server shuts down.
func tlsLevel(err error) slog.Level {
	if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, errShuttingDown) {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// The methods that net.Conn requires and that have no effect: the loop closes the
// descriptor and keeps the deadlines.

func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return nil }
func (w *wire) RemoteAddr() net.Addr             { return nil }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
