package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"time"

	"goguerrillad/internal/savemail/newmail"

	"github.com/go-sql-driver/mysql"
)

// A conn is one connection, used by one Save at a time.
type conn struct {
	*sql.Conn
	host    *host
	turn    *turn             // nil while nobody uses it
	mark    mark              // how to find the session without the connection
	facts   map[string]string // variables of the server (inspect.go)
	packet  int64             // bytes: the server's max_allowed_packet
	inserts map[int]*sql.Stmt // by number of rows, 1 to maxRows, for columns
	columns *newmail.Columns
	args    []any  // of one statement, reused
	arena   []byte // copies of mails for one statement, reused
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

// setUp makes the session one that can write, and be found when it is lost. Its
// settings are made already (connector).
func (c *conn) setUp(ctx context.Context, s *Store) (err error) {
	if c.facts, err = c.readFacts(ctx); err != nil {
		return err
	}
	if c.packet, err = strconv.ParseInt(c.facts["max_allowed_packet"], 10, 64); err != nil {
		return fmt.Errorf("read max_allowed_packet: %w", err)
	}
	// The driver does not say which parameters are bytes. The server reads every
	// other parameter from end to end to check that it is text: for a message of
	// 100 KB that is a quarter of its time. A server may refuse the setting.
	_, err = c.ExecContext(ctx, "SET character_set_client=binary")
	if _, refused := errors.AsType[*mysql.MySQLError](err); err != nil && !refused {
		return fmt.Errorf("send parameters as bytes: %w", err)
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
	if err := c.checkRights(ctx, s); err != nil {
		return err
	}
	c.inspect(ctx, s)
	return nil
}

// leaveMark makes the session one that can be found again. The lock must be seen
// as this session's by the next statement: a proxy may send that to another one.
func (c *conn) leaveMark(ctx context.Context, s *Store) error {
	name := newLockName()
	got, err := c.lock(ctx, name, 0)
	if err == nil && got {
		var own sql.NullBool
		err = c.QueryRowContext(ctx, "SELECT IS_USED_LOCK("+literal(name)+")=CONNECTION_ID()").Scan(&own)
		got = own.Bool
	}
	if _, refused := errors.AsType[*mysql.MySQLError](err); refused || err == nil && !got {
		c.warnUnsettled(s, "GET_LOCK and IS_USED_LOCK", "", err)
		return nil
	}
	if err != nil {
		return err
	}
	v, err := c.viewCluster(ctx)
	c.mark = mark{name, serverOf(c.facts), v}
	return err
}

// checkRights drops the mark when the user may not do what settling needs.
func (c *conn) checkRights(ctx context.Context, s *Store) error {
	for _, right := range []struct{ needed, grant, statement string }{
		{"SELECT", "GRANT SELECT ON " + s.table.String() + " TO CURRENT_USER", s.table.lookAt()},
		{"KILL", "", "KILL 0"},
	} {
		_, err := c.ExecContext(ctx, right.statement)
		e, refused := errors.AsType[*mysql.MySQLError](err)
		switch {
		case refused && e.Number != errNoSuchThread:
			c.mark = mark{}
			c.warnUnsettled(s, right.needed, right.grant, err)
		case err != nil && !refused:
			return fmt.Errorf("check the rights: %w", err)
		}
	}
	return nil
}

// warnUnsettled warns that a lost answer leaves the outcome unknown.
func (c *conn) warnUnsettled(s *Store, needed, grant string, err error) {
	s.once.warn("unsettled "+needed, "MySQL commit outcomes cannot be settled",
		"host", c.host.name, "needed", needed, "grant", grant, "error", err)
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
	if old := c.host.columns.Load(); columns.Equal(old) {
		columns = old // statements that are prepared for them stay
	}
	c.host.columns.Store(columns)
	s.columns.Store(columns)
	now := time.Now()
	c.host.read.Store(&now)
	return nil
}

// columnsTime is the age at which a Save reads the columns again. A column that was
// narrowed causes an error before that; one that was widened does not.
const columnsTime = 5 * time.Second

// current returns the columns, which it reads again after columnsTime.
func (c *conn) current(ctx context.Context, s *Store) (*newmail.Columns, error) {
	if time.Since(*c.host.read.Load()) >= columnsTime {
		if err := c.readColumns(ctx, s); err != nil {
			return nil, err
		}
	}
	return c.host.columns.Load(), nil
}

// refresh reads the columns again, on a connection of the pool.
func (s *Store) refresh() {
	ctx, cancel := context.WithTimeout(s.life, s.options.answerTime())
	defer cancel()
	c, err := s.acquire(ctx)
	if err != nil {
		return // the next Save reports it
	}
	if err := c.readColumns(ctx, s); err != nil {
		s.discard(c)
		return
	}
	s.release(c)
}
