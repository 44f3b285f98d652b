package smtpd

import (
	"crypto/tls"
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

// wire is the net.Conn under crypto/tls. Reads take what the socket has, and
// fail with errAgain when it has nothing: crypto/tls keeps half a record and
// goes on with it at the next Read. Writes are appended to the loop's buffer
// and sent by conn.send, since a write that failed for want of room would end
// the connection for crypto/tls. During the handshake both wait instead.
type wire struct {
	fd      int
	loop    *loop
	shake   *shake // nil after the handshake
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
		w.loop.cipher = append(w.loop.cipher, p...)
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

// Close and deadlines are the loop's business.

func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return nil }
func (w *wire) RemoteAddr() net.Addr             { return nil }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
