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

// secured is the TLS layer of a connection. After the handshake neither its
// Read nor its Write waits for the client.
type secured struct {
	*tls.Conn
	wire *wire
}

// wire is the net.Conn under crypto/tls. A read takes what the socket has, and
// fails with errAgain if that is nothing: crypto/tls keeps a part of a record
// and continues with it at the next Read. A write is appended to records and
// sent by conn.send, because crypto/tls ends a connection whose write failed,
// also if the socket's buffer was only full. During the handshake, reads and
// writes wait for the socket instead.
//
// records belongs to this connection from the first write to the flush. A
// connection that is closed in between takes records with it, so no other
// client can receive them.
type wire struct {
	fd      int
	loop    *loop
	shake   *shake // nil after the handshake
	records []byte // what crypto/tls wrote and flush has not sent
	drained bool   // the last read has emptied the socket; the next event ends that
}

func (w *wire) Read(p []byte) (int, error) {
	for {
		if w.shake == nil && w.drained {
			return 0, errAgain // without asking the kernel
		}
		n, err := readSocket(w.fd, p)
		w.drained = n < len(p) && err == nil
		if err != errAgain || w.shake == nil {
			return n, err
		}
		if err := w.shake.wait(w.fd, unix.EPOLLIN); err != nil {
			return 0, err
		}
	}
}

func (w *wire) Write(p []byte) (int, error) {
	if w.shake == nil {
		if w.records == nil { // the loop's spare buffer, which is empty
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
		if err := w.shake.wait(w.fd, unix.EPOLLOUT); err != nil {
			return sent, err
		}
	}
}

// flush sends what crypto/tls wrote, and gives the empty buffer to the loop.
func (c *conn) flush(flags int) {
	w := c.secured.wire
	c.transmit(w.records, flags)
	if w.records != nil && cap(w.records) <= outKept {
		w.loop.records = w.records[:0]
	}
	w.records = nil
}

// failTLS ends a connection on which crypto/tls reported an error. The client
// receives the alert that crypto/tls wrote (RFC 8446, section 6.2), and no
// close_notify after it.
func (c *conn) failTLS(err error) {
	c.loop.server.log.Log(context.Background(), tlsLevel(err), "TLS connection failed", "remote", c.peer, "error", err)
	c.session.Abort()
	c.flush(0)
	c.secured = nil
	c.conclude(nil)
}

// tlsLevel is the level at which an error of crypto/tls is logged. A client
// that goes away is common.
func tlsLevel(err error) slog.Level {
	if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, errShuttingDown) {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// Close and deadlines are the loop's business.

func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return nil }
func (w *wire) RemoteAddr() net.Addr             { return nil }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
