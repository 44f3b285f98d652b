package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"goguerrillad/internal/savemail/newmail"
)

// A conn is a connection to a host. It must not be used concurrently.
type conn struct {
	*sql.Conn
	host          *host
	checkout      *checkout         // nil in the pool and for probes
	session       sessionID         // for settling after the connection is lost
	variables     map[string]string // the server's values of variableNames
	maxPacket     int64             // the server's max_allowed_packet in bytes
	inserts       map[int]*sql.Stmt // prepared for insertColumns, by number of rows, 1 to maxRows
	insertColumns *newmail.Columns
	args          []any  // of one statement, reused
	arena         []byte // copies of messages for one statement, reused
}

// destroy closes the connection, which also ends its prepared statements.
func (c *conn) destroy() {
	// ErrBadConn makes database/sql close the connection. No caller could handle
	// an error.
	_ = c.Conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = c.Conn.Close()
}

// alive reports whether the server has kept the idle connection open. The outcome
// of an INSERT on a closed connection could be unknown.
func (c *conn) alive(ctx context.Context) bool {
	return c.Conn.Raw(func(dc any) error { return dc.(*safeConn).ResetSession(ctx) }) == nil
}

// connect connects to a host. If the connection ends during its setup, connect
// tries once more, because no row has been sent and the host may be healthy.
func (s *Store) connect(ctx context.Context, h *host) (*conn, error) {
	start := time.Now()
	c, err := s.connectOnce(ctx, h)
	timedOut := time.Since(start) >= s.options.replyTimeout()
	if err != nil && errors.Is(err, mysql.ErrInvalidConn) && !timedOut {
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
		c.destroy()
		return nil, err
	}
	return c, nil
}

// setUp prepares the session for INSERTs and for settling their outcomes. The
// connector has applied the settings.
func (c *conn) setUp(ctx context.Context, s *Store) (err error) {
	if c.variables, err = c.readVariables(ctx); err != nil {
		return err
	}
	if c.maxPacket, err = strconv.ParseInt(c.variables["max_allowed_packet"], 10, 64); err != nil {
		return fmt.Errorf("read max_allowed_packet: %w", err)
	}
	// The driver sends parameters as text, and the server checks the encoding of
	// text. For a message of 100 kB the check takes a quarter of the server's
	// time. A server may refuse the setting.
	_, err = c.ExecContext(ctx, "SET character_set_client=binary")
	if _, refused := errors.AsType[*mysql.MySQLError](err); err != nil && !refused {
		return fmt.Errorf("send parameters as bytes: %w", err)
	}
	if err := c.acquireSessionLock(ctx, s); err != nil {
		return err
	}
	if err := c.updateColumns(ctx, s); err != nil {
		return err
	}
	if err := c.tryInsert(ctx, s); err != nil {
		return err
	}
	if err := c.checkRights(ctx, s); err != nil {
		return err
	}
	c.checkServer(ctx, s)
	return nil
}

// acquireSessionLock acquires the user lock that identifies the session
// (settle.go). It checks the lock's holder with a second statement, because a
// proxy may distribute the statements over several sessions.
func (c *conn) acquireSessionLock(ctx context.Context, s *Store) error {
	name := newLockName()
	got, err := c.getLock(ctx, name, 0)
	if err == nil && got {
		var own sql.NullBool
		err = c.QueryRowContext(ctx, "SELECT IS_USED_LOCK("+literal(name)+")=CONNECTION_ID()").Scan(&own)
		got = own.Bool
	}
	if _, refused := errors.AsType[*mysql.MySQLError](err); refused || err == nil && !got {
		c.warnCannotSettle(s, "GET_LOCK and IS_USED_LOCK", "", err)
		return nil
	}
	if err != nil {
		return err
	}
	v, err := c.readView(ctx)
	c.session = sessionID{name, serverIDOf(c.variables), v}
	return err
}

// tryInsert runs an INSERT without a row. Like an INSERT of a row, it fails if the
// user has no right, the server is read-only, or a column has neither a value nor
// a default.
func (c *conn) tryInsert(ctx context.Context, s *Store) error {
	columns := c.host.columns.Load()
	_, err := c.ExecContext(ctx, s.table.emptyInsert(columns))
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok && e.Number == errNoDefault && len(columns.Unfilled()) > 0 {
		return fmt.Errorf("%s needs a value or a default for the columns %s: %w", s.table, strings.Join(columns.Unfilled(), ", "), err)
	}
	if err != nil {
		return fmt.Errorf("try an INSERT without a row: %w", c.withGrant(ctx, s.table, err))
	}
	if unfilled := columns.Unfilled(); len(unfilled) > 0 { // MySQL checks rows only, since a trigger may set the columns
		s.warnOnce("MySQL table has columns that need a value", "host", c.host.name, "columns", strings.Join(unfilled, ", "))
	}
	return nil
}

// errNoDefault is the error of an INSERT without a value for a column that has no
// default.
const errNoDefault = 1364

// updateColumns reads the columns, and sets them for the host and for Fits.
func (c *conn) updateColumns(ctx context.Context, s *Store) error {
	columns, err := s.table.readColumns(ctx, c)
	if err != nil {
		return err
	}
	if old := c.host.columns.Load(); columns.Equal(old) {
		columns = old // keeps their prepared statements
	} else if losses := strings.Join(columns.Losses(), "; "); losses != "" {
		s.onceLog.warn("narrow: "+losses, "MySQL table is too narrow for some values", "host", c.host.name, "columns", losses)
	}
	c.host.columns.Store(columns)
	s.columns.Store(columns)
	now := time.Now()
	c.host.columnsRead.Store(&now)
	return nil
}

// columnsMaxAge is the age at which a Save reads the columns again. It matters
// for a widened column: a narrowed column causes an error, and a Save then reads
// the columns immediately.
const columnsMaxAge = 5 * time.Second

// currentColumns returns the host's columns, at most columnsMaxAge old.
func (c *conn) currentColumns(ctx context.Context, s *Store) (*newmail.Columns, error) {
	if time.Since(*c.host.columnsRead.Load()) >= columnsMaxAge {
		if err := c.updateColumns(ctx, s); err != nil {
			return nil, err
		}
	}
	return c.host.columns.Load(), nil
}

// refreshColumns reads the columns of the best host again.
func (s *Store) refreshColumns() {
	ctx, cancel := context.WithTimeout(s.ctx, s.options.replyTimeout())
	defer cancel()
	c, err := s.acquire(ctx)
	if err != nil {
		return // the next Save reports it
	}
	if err := c.updateColumns(ctx, s); err != nil {
		s.discard(c)
		return
	}
	s.release(c)
}
