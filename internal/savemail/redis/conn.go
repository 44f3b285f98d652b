package redis

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// A connection is a connection of redigo, and the socket below it.
type connection struct {
	redigo.Conn
	socket *socket
}

// A socket subtracts the time of its reads and writes from the remaining time, and
// fails when no time remains. Other time, such as for compression, does not count.
type socket struct {
	net.Conn
	remaining *time.Duration
	checker   replyChecker
}

func (s *socket) Read(b []byte) (int, error) {
	n, err := s.timed(s.Conn.Read, b)
	if replyErr := s.checker.check(b[:n]); replyErr != nil {
		return 0, replyErr
	}
	return n, err
}

func (s *socket) Write(b []byte) (int, error) { return s.timed(s.Conn.Write, b) }

func (s *socket) timed(do func([]byte) (int, error), b []byte) (int, error) {
	start := time.Now()
	if err := s.SetDeadline(start.Add(*s.remaining)); err != nil {
		return 0, err
	}
	n, err := do(b)
	*s.remaining -= time.Since(start)
	return n, err
}

// SetReadDeadline does nothing. redigo calls it with a zero deadline before each
// read, since it has no timeout of its own.
func (*socket) SetReadDeadline(time.Time) error { return nil }

// connect dials, authenticates and selects the database. The strings of one reply
// may have maxBytes bytes in total.
func connect(ctx context.Context, o Options, remaining *time.Duration, maxBytes int64) (*connection, error) {
	network := "tcp"
	if strings.HasPrefix(o.Host, "/") {
		network = "unix"
	}
	start := time.Now()
	dialer := net.Dialer{Deadline: start.Add(*remaining)}
	raw, err := dialer.DialContext(ctx, network, o.Host)
	*remaining -= time.Since(start)
	if err != nil {
		return nil, err // err contains the address
	}
	s := &socket{Conn: raw, remaining: remaining, checker: replyChecker{maxBytes: maxBytes}}
	conn := &connection{redigo.NewConn(s, 0, 0), s}
	if err := conn.handshake(o); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", o.Host, err)
	}
	return conn, nil
}

func (c *connection) handshake(o Options) error {
	if o.Pass != "" {
		if _, err := c.Do("AUTH", o.Pass); err != nil {
			return fmt.Errorf("authenticate: %w", err)
		}
	}
	if o.DB != 0 {
		if _, err := c.Do("SELECT", o.DB); err != nil {
			return fmt.Errorf("select database %d: %w", o.DB, err)
		}
	}
	return nil
}

// exchange sends n commands at once and reads their replies. It returns for each
// command whether Redis executed it, and the first error reply. If err is not nil,
// the caller must close the connection.
func (c *connection) exchange(n int, send func(redigo.Conn, int) error) (executed []bool, errorReply, err error) {
	for i := range n {
		if err := send(c, i); err != nil {
			return nil, nil, fmt.Errorf("send: %w", err)
		}
	}
	if err := c.Flush(); err != nil {
		return nil, nil, fmt.Errorf("send: %w", err)
	}
	executed = make([]bool, n)
	for i := range executed {
		_, err := c.Receive()
		if isErrorReply(err) {
			errorReply = cmp.Or(errorReply, err)
		} else if err != nil {
			return nil, nil, fmt.Errorf("receive: %w", err)
		} else {
			executed[i] = true
		}
	}
	return executed, errorReply, nil
}
