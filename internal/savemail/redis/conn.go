package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// conn is one connection.
type conn struct {
	redigo.Conn
	socket *socket
}

// A socket takes the time that its reads and writes last from what is left of
// somebody's patience, and fails when there is none. What is done between
// them, compression above all, does not count.
type socket struct {
	net.Conn
	left    *time.Duration
	replies replies
}

func (s *socket) Read(b []byte) (int, error) {
	n, err := s.wait(s.Conn.Read, b)
	if bad := s.replies.check(b[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

func (s *socket) Write(b []byte) (int, error) { return s.wait(s.Conn.Write, b) }

func (s *socket) wait(do func([]byte) (int, error), b []byte) (int, error) {
	begun := time.Now()
	if err := s.SetDeadline(begun.Add(*s.left)); err != nil {
		return 0, err
	}
	n, err := do(b)
	*s.left -= time.Since(begun)
	return n, err
}

// redigo's own deadlines, which it sets even when it has none.

func (*socket) SetReadDeadline(time.Time) error  { return nil }
func (*socket) SetWriteDeadline(time.Time) error { return nil }

// connect dials, authenticates and chooses the database. No reply has strings of
// more bytes than most.
func connect(ctx context.Context, o Options, left *time.Duration, most int64) (*conn, error) {
	network := "tcp"
	if strings.HasPrefix(o.Host, "/") {
		network = "unix"
	}
	begun := time.Now()
	dialer := net.Dialer{Deadline: begun.Add(*left)}
	raw, err := dialer.DialContext(ctx, network, o.Host)
	*left -= time.Since(begun)
	if err != nil {
		return nil, err // it says where to
	}
	s := &socket{Conn: raw, left: left, replies: replies{most: most}}
	kn := &conn{redigo.NewConn(s, 0, 0), s}
	if err := kn.greet(o); err != nil {
		kn.Close()
		return nil, err
	}
	return kn, nil
}

func (kn *conn) greet(o Options) error {
	if o.Pass != "" {
		if _, err := kn.Do("AUTH", o.Pass); err != nil {
			return fmt.Errorf("authenticate: %w", err)
		}
	}
	if o.DB != 0 {
		if _, err := kn.Do("SELECT", o.DB); err != nil {
			return fmt.Errorf("select database %d: %w", o.DB, err)
		}
	}
	return nil
}

// exchange sends n commands at once and reads their replies. It returns which
// were carried out and the first reason that was given for one that was not,
// or an error after which the connection is of no use.
func (kn *conn) exchange(n int, send func(redigo.Conn, int) error) (done []bool, refusal, err error) {
	for i := range n {
		if err := send(kn, i); err != nil {
			return nil, nil, fmt.Errorf("send: %w", err)
		}
	}
	if err := kn.Flush(); err != nil {
		return nil, nil, fmt.Errorf("send: %w", err)
	}
	done = make([]bool, n)
	for i := range done {
		_, err := kn.Receive()
		if reply, ok := errors.AsType[redigo.Error](err); ok {
			refusal = cmp.Or[error](refusal, reply)
		} else if err != nil {
			return nil, nil, fmt.Errorf("receive: %w", err)
		} else {
			done[i] = true
		}
	}
	return done, refusal, nil
}
