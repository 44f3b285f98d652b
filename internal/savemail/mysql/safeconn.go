package mysql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"net"

	"github.com/go-sql-driver/mysql"
)

// The driver does not check the length of the server's packets, and panics in the
// calling goroutine if a packet is too short. The types in this file wrap the
// driver's types, and convert the panic into the error of a lost connection.

// driverConn has the interfaces that the driver's connections implement.
type driverConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

type driverStmt interface {
	driver.Stmt
	driver.NamedValueChecker
	driver.StmtExecContext
	driver.StmtQueryContext
}

// panicError returns the error for a recovered panic.
func panicError(r any) error {
	return fmt.Errorf("%w: the server sent a malformed packet: %v", mysql.ErrInvalidConn, r)
}

type socketKey struct{}

// dial connects, and stores the connection in the variable to which ctx refers
// (connectSafely).
func dial(ctx context.Context, dialer *net.Dialer, network, address string) (net.Conn, error) {
	c, err := dialer.DialContext(ctx, network, address)
	if socket, ok := ctx.Value(socketKey{}).(*net.Conn); ok && err == nil {
		*socket = c
	}
	return c, err
}

// connectSafely connects with k. If the driver panics, it leaves the socket open,
// and connectSafely closes it.
func connectSafely(ctx context.Context, k driver.Connector) (c *safeConn, err error) {
	var socket net.Conn
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		c, err = nil, panicError(r)
		if socket != nil {
			_ = socket.Close()
		}
	}()
	dc, err := k.Connect(context.WithValue(ctx, socketKey{}, &socket))
	if err != nil {
		return nil, err
	}
	return &safeConn{driverConn: dc.(driverConn), socket: socket}, nil
}

// A safeConn converts a panic of its connection into an error and closes the
// connection.
type safeConn struct {
	driverConn
	socket net.Conn
	broken bool // true after a panic
}

// handlePanic recovers from a panic, closes the connection, and sets err. It must
// be the deferred function itself, since recover has no effect elsewhere.
func (c *safeConn) handlePanic(err *error) {
	r := recover()
	if r == nil {
		return
	}
	c.broken = true
	_ = c.socket.Close()
	*err = panicError(r)
}

func (c *safeConn) IsValid() bool { return !c.broken && c.driverConn.IsValid() }

func (c *safeConn) ResetSession(ctx context.Context) error {
	if c.broken {
		return driver.ErrBadConn
	}
	return c.driverConn.ResetSession(ctx)
}

func (c *safeConn) Ping(ctx context.Context) (err error) {
	defer c.handlePanic(&err)
	return c.driverConn.Ping(ctx)
}

func (c *safeConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (r driver.Result, err error) {
	defer c.handlePanic(&err)
	return c.driverConn.ExecContext(ctx, query, args)
}

func (c *safeConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (r driver.Rows, err error) {
	defer c.handlePanic(&err)
	r, err = c.driverConn.QueryContext(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return &safeRows{r, c}, nil
}

func (c *safeConn) PrepareContext(ctx context.Context, query string) (s driver.Stmt, err error) {
	defer c.handlePanic(&err)
	s, err = c.driverConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return &safeStmt{s.(driverStmt), c}, nil
}

func (c *safeConn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c *safeConn) BeginTx(ctx context.Context, o driver.TxOptions) (tx driver.Tx, err error) {
	defer c.handlePanic(&err)
	tx, err = c.driverConn.BeginTx(ctx, o)
	if err != nil {
		return nil, err
	}
	return &safeTx{tx, c}, nil
}

type safeTx struct {
	driver.Tx
	conn *safeConn
}

func (t *safeTx) Commit() (err error) {
	defer t.conn.handlePanic(&err)
	return t.Tx.Commit()
}

func (t *safeTx) Rollback() (err error) {
	defer t.conn.handlePanic(&err)
	return t.Tx.Rollback()
}

type safeStmt struct {
	driverStmt
	conn *safeConn
}

func (s *safeStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (r driver.Result, err error) {
	defer s.conn.handlePanic(&err)
	return s.driverStmt.ExecContext(ctx, args)
}

func (s *safeStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (r driver.Rows, err error) {
	defer s.conn.handlePanic(&err)
	r, err = s.driverStmt.QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	return &safeRows{r, s.conn}, nil
}

// safeRows has only one result set, since no statement of this package returns
// more.
type safeRows struct {
	driver.Rows
	conn *safeConn
}

func (r *safeRows) Next(dest []driver.Value) (err error) {
	defer r.conn.handlePanic(&err)
	return r.Rows.Next(dest)
}

func (r *safeRows) Close() (err error) {
	defer r.conn.handlePanic(&err)
	return r.Rows.Close()
}
