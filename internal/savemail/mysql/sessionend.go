package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Timeouts of GET_LOCK. Each must end before the driver's ReadTimeout.
const (
	lockWait = time.Second     // for a session that was not killed
	killWait = 2 * time.Second // for a session that was killed
)

// awaitSessionEnd returns nil when the session that held the lock has ended. It
// kills the session after lockWait.
func (c *conn) awaitSessionEnd(ctx context.Context, lock string, replyTimeout time.Duration) error {
	holder, err := c.lockHolder(ctx, lock)
	if err != nil || holder == 0 {
		return err
	}
	got, err := c.getLock(ctx, lock, min(lockWait, replyTimeout/2))
	for err == nil && !got {
		// Read the holder's id before each KILL, because servers reuse ids.
		if holder, err = c.lockHolder(ctx, lock); err != nil || holder == 0 {
			return err
		}
		if err = c.killSession(ctx, holder); err != nil {
			return err
		}
		got, err = c.getLock(ctx, lock, min(killWait, replyTimeout/2))
	}
	return err
}

// lockHolder returns the id of the session that holds the lock, or 0.
func (c *conn) lockHolder(ctx context.Context, lock string) (int64, error) {
	var id sql.NullInt64
	if err := c.QueryRowContext(ctx, "SELECT IS_USED_LOCK("+literal(lock)+")").Scan(&id); err != nil {
		return 0, fmt.Errorf("find the lost session: %w", err)
	}
	return id.Int64, nil
}

// getLock waits for a user lock, and reports whether it was acquired.
func (c *conn) getLock(ctx context.Context, name string, wait time.Duration) (bool, error) {
	var got sql.NullInt64 // NULL means an error of the server
	if err := c.QueryRowContext(ctx, fmt.Sprintf("SELECT GET_LOCK(%s,%f)", literal(name), wait.Seconds())).Scan(&got); err != nil {
		return false, fmt.Errorf("wait for the end of the session: %w", err)
	}
	return got.Int64 == 1, nil
}

// errNoSuchThread is KILL's error for a session that does not exist.
const errNoSuchThread = 1094

// killSession kills a session of the store's own user, which requires no privilege.
func (c *conn) killSession(ctx context.Context, id int64) error {
	_, err := c.ExecContext(ctx, fmt.Sprintf("KILL %d", id))
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		switch e.Number {
		case errNoSuchThread, // the session has just ended
			1047: // a Galera node that has lost its cluster cannot kill
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("kill the lost session: %w", err)
	}
	return nil
}
