package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/go-sql-driver/mysql"
)

// A conn is one connection, used by one Save at a time.
type conn struct {
	*sql.Conn
	host    *host
	turn    *turn             // nil while nobody uses it
	mark    mark              // how to find the session without the connection
	packet  int64             // bytes: the server's max_allowed_packet
	inserts map[int]*sql.Stmt // by number of rows, 1 to maxRows
	args    []any             // of one statement, reused
	arena   []byte            // copies of mails for one statement, reused
}

// drop closes the connection; what it has prepared ends with it.
func (c *conn) drop() {
	// The pool has no use for it, and an error has no one to go to.
	_ = c.Conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = c.Conn.Close()
}

// alive reports whether the server has not closed the connection while it was
// idle. To find that out before anything is sent spares an unknown outcome.
func (c *conn) alive(ctx context.Context) bool {
	return c.Conn.Raw(func(dc any) error {
		if r, ok := dc.(driver.SessionResetter); ok {
			return r.ResetSession(ctx)
		}
		return nil
	}) == nil
}

// connectTo connects to a host. A connection that ends while it is set up is
// made once more: nothing has been sent, and the host may be well.
func (s *Store) connectTo(ctx context.Context, h *host) (*conn, error) {
	begun := time.Now()
	c, err := s.connectOnce(ctx, h)
	hung := time.Since(begun) >= s.options.answerTime()
	if err != nil && errors.Is(err, mysql.ErrInvalidConn) && !hung {
		c, err = s.connectOnce(ctx, h)
	}
	return c, err
}

func (s *Store) connectOnce(ctx context.Context, h *host) (*conn, error) {
	dc, err := h.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	c := &conn{Conn: dc, host: h, inserts: map[int]*sql.Stmt{}}
	if err := c.setUp(ctx, s); err != nil {
		c.drop()
		return nil, err
	}
	return c, nil
}

// setUp makes the session what the store relies on, whatever the server's
// defaults are, and looks at the table.
func (c *conn) setUp(ctx context.Context, s *Store) error {
	var autocommit bool
	var charset string
	if err := c.QueryRowContext(ctx, "SELECT @@max_allowed_packet, @@autocommit, @@character_set_client").
		Scan(&c.packet, &autocommit, &charset); err != nil {
		return fmt.Errorf("read the session's settings: %w", err)
	}
	if !autocommit {
		// Else an INSERT that succeeded would be rolled back at the end.
		if _, err := c.ExecContext(ctx, "SET autocommit=1"); err != nil {
			return fmt.Errorf("turn autocommit on: %w", err)
		}
	}
	if charset != "utf8mb4" {
		// The server overrules the handshake (skip-character-set-client-handshake).
		if _, err := c.ExecContext(ctx, "SET NAMES utf8mb4"); err != nil {
			return fmt.Errorf("set the character set: %w", err)
		}
	}
	// The driver does not say which parameters are bytes. What is not, the
	// server reads from end to end to see whether it is text: for a mail of 100 KB
	// that is a quarter of its time. One that refuses may do so.
	_, err := c.ExecContext(ctx, "SET character_set_client=binary")
	if _, refused := errors.AsType[*mysql.MySQLError](err); err != nil && !refused {
		return fmt.Errorf("have parameters taken as bytes: %w", err)
	}
	if err := c.leaveMark(ctx, s); err != nil {
		return err
	}
	if err := c.readColumns(ctx, s); err != nil {
		return err
	}
	if err := c.probe(ctx, s); err != nil {
		return err
	}
	c.inspect(ctx, s)
	return nil
}

// leaveMark makes the session one that can be found again.
func (c *conn) leaveMark(ctx context.Context, s *Store) error {
	name := newLockName()
	got, err := c.lock(ctx, name, 0)
	if _, refused := errors.AsType[*mysql.MySQLError](err); refused || err == nil && !got {
		s.warn("when a connection is lost in a commit, mails may be stored and yet answered 451: the server gives no user lock (GET_LOCK)",
			"host", c.host.name, "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	at, err := c.identify(ctx)
	if err != nil {
		return err
	}
	v, err := c.viewCluster(ctx)
	c.mark = mark{name, at, v}
	return err
}

// probe inserts no row: it fails where an INSERT would, for want of rights, on
// a read-only server, or for a column that has neither a value nor a default.
func (c *conn) probe(ctx context.Context, s *Store) error {
	if _, err := c.ExecContext(ctx, s.table.probe()); err != nil {
		return fmt.Errorf("try an INSERT of no row: %w", err)
	}
	return nil
}

// readColumns publishes what the table is like now.
func (c *conn) readColumns(ctx context.Context, s *Store) error {
	columns, err := s.table.columns(ctx, c)
	if err != nil {
		return err
	}
	c.host.columns.Store(columns)
	s.columns.Store(columns)
	return nil
}
