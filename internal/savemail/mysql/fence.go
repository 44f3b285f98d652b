package mysql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"net"

	"github.com/go-sql-driver/mysql"
)

// The driver reads a packet of the server without looking at its length: one
// that is cut short makes it panic, in whichever goroutine asks. The types of
// this file stand between it and database/sql, and turn the panic into the
// error of a lost connection.

// fullConn is what the driver's connections implement.
type fullConn interface {
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

type fullStmt interface {
	driver.Stmt
	driver.NamedValueChecker
	driver.StmtExecContext
	driver.StmtQueryContext
}

// malformed is the error that takes the place of a panic.
func malformed(r any) error {
	return fmt.Errorf("%w: the server sends a malformed packet: %v", mysql.ErrInvalidConn, r)
}

type dialedKey struct{}

// dial keeps the connection where connectFenced finds it.
func dial(ctx context.Context, dialer *net.Dialer, network, address string) (net.Conn, error) {
	c, err := dialer.DialContext(ctx, network, address)
	if kept, ok := ctx.Value(dialedKey{}).(*net.Conn); ok && err == nil {
		*kept = c
	}
	return c, err
}

// connectFenced connects. After a panic the driver does not close the socket.
func connectFenced(ctx context.Context, k driver.Connector) (dc driver.Conn, err error) {
	var socket net.Conn
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		dc, err = nil, malformed(r)
		if socket != nil {
			_ = socket.Close()
		}
	}()
	dc, err = k.Connect(context.WithValue(ctx, dialedKey{}, &socket))
	if err != nil {
		return nil, err
	}
	return &fenced{fullConn: dc.(fullConn), socket: socket}, nil
}

// A fenced is a connection whose panics end the connection only.
type fenced struct {
	fullConn
	socket net.Conn
	broken bool // by a panic
}

// fence takes what recover returns, in a deferred function.
func (g *fenced) fence(err *error, r any) {
	if r == nil {
		return
	}
	g.broken = true
	_ = g.socket.Close()
	*err = malformed(r)
}

func (g *fenced) IsValid() bool { return !g.broken && g.fullConn.IsValid() }

func (g *fenced) ResetSession(ctx context.Context) error {
	if g.broken {
		return driver.ErrBadConn
	}
	return g.fullConn.ResetSession(ctx)
}

func (g *fenced) Ping(ctx context.Context) (err error) {
	defer func() { g.fence(&err, recover()) }()
	return g.fullConn.Ping(ctx)
}

func (g *fenced) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (r driver.Result, err error) {
	defer func() { g.fence(&err, recover()) }()
	return g.fullConn.ExecContext(ctx, query, args)
}

func (g *fenced) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (r driver.Rows, err error) {
	defer func() { g.fence(&err, recover()) }()
	r, err = g.fullConn.QueryContext(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return &fencedRows{r, g}, nil
}

func (g *fenced) PrepareContext(ctx context.Context, query string) (s driver.Stmt, err error) {
	defer func() { g.fence(&err, recover()) }()
	s, err = g.fullConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return &fencedStmt{s.(fullStmt), g}, nil
}

func (g *fenced) Prepare(query string) (driver.Stmt, error) {
	return g.PrepareContext(context.Background(), query)
}

func (g *fenced) BeginTx(ctx context.Context, o driver.TxOptions) (tx driver.Tx, err error) {
	defer func() { g.fence(&err, recover()) }()
	tx, err = g.fullConn.BeginTx(ctx, o)
	if err != nil {
		return nil, err
	}
	return &fencedTx{tx, g}, nil
}

type fencedTx struct {
	driver.Tx
	conn *fenced
}

func (t *fencedTx) Commit() (err error) {
	defer func() { t.conn.fence(&err, recover()) }()
	return t.Tx.Commit()
}

func (t *fencedTx) Rollback() (err error) {
	defer func() { t.conn.fence(&err, recover()) }()
	return t.Tx.Rollback()
}

type fencedStmt struct {
	fullStmt
	conn *fenced
}

func (s *fencedStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (r driver.Result, err error) {
	defer func() { s.conn.fence(&err, recover()) }()
	return s.fullStmt.ExecContext(ctx, args)
}

func (s *fencedStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (r driver.Rows, err error) {
	defer func() { s.conn.fence(&err, recover()) }()
	r, err = s.fullStmt.QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	return &fencedRows{r, s.conn}, nil
}

// fencedRows has one result set: no statement here returns more.
type fencedRows struct {
	driver.Rows
	conn *fenced
}

func (r *fencedRows) Next(dest []driver.Value) (err error) {
	defer func() { r.conn.fence(&err, recover()) }()
	return r.Rows.Next(dest)
}

func (r *fencedRows) Close() (err error) {
	defer func() { r.conn.fence(&err, recover()) }()
	return r.Rows.Close()
}
