package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// A piece is one SELECT and one DELETE of up to maxPiece rows. Its size follows the
// time that it takes.
const (
	minPiece  = 5
	maxPiece  = 200
	pieceTime = 20 * time.Millisecond
)

// An expiry deletes old rows through its own connection. Only one goroutine uses it.
type expiry struct {
	*conn        // nil while there is none
	key   string // column that identifies a row
	has   newmail.Selection
	start time.Time // of the server, zero if the rows may come from several servers
	piece int       // rows of the next piece
	stay  int       // rows at the beginning of the index on date that stay in this pass
}

// Expire deletes the next rows whose date, which is in the server's time zone, is before a
// time. The daemon that holds a user lock on the server deletes, all others wait for it.
func (s *Store) Expire(ctx context.Context, before time.Time) (savemail.Expired, error) {
	e := &s.expiry
	if e.conn == nil {
		locked, err := s.connectExpiry(ctx)
		if err != nil || !locked {
			return savemail.Expired{}, err
		}
	}
	expired, err := e.expire(ctx, s.table, before)
	if err != nil {
		if e, ok := errors.AsType[*mysql.MySQLError](err); !ok || slices.Contains([]uint16{errDeadlock, errRollback}, e.Number) {
			err = fmt.Errorf("%w: %w", savemail.ErrUnavailable, err) // the connection is lost, or a daemon at another node deletes the same rows
		}
		e.close()
		return savemail.Expired{}, err
	}
	return expired, nil
}

// The errors of a transaction that conflicts with a transaction of another node.
const (
	errDeadlock = 1213 // Galera
	errRollback = 3101 // Group Replication
)

// connectExpiry connects to the first healthy host and reports whether it has received the
// lock.
func (s *Store) connectExpiry(ctx context.Context) (locked bool, err error) {
	s.mu.Lock()
	i := max(0, slices.IndexFunc(s.hosts, func(h *host) bool { return h.health.healthy() }))
	s.mu.Unlock()
	c, err := s.connect(ctx, s.hosts[i])
	if err != nil {
		return false, fmt.Errorf("%w: %s: %w", savemail.ErrUnavailable, s.hosts[i], err)
	}
	e := &s.expiry
	*e = expiry{conn: c, piece: minPiece}
	if locked, err = e.prepare(ctx, s); err != nil {
		err = fmt.Errorf("%s: %w", c.host, err)
	}
	if !locked {
		e.close()
	}
	return locked, err
}

func (e *expiry) close() {
	if e.conn != nil {
		e.destroy()
		e.conn = nil
	}
}

// prepare acquires the lock and reads what the rows may be compared with.
func (e *expiry) prepare(ctx context.Context, s *Store) (locked bool, err error) {
	if e.key, err = e.canExpire(ctx, s.table); err != nil {
		return false, err
	}
	if e.has, err = e.selection(ctx, s.table); err != nil {
		return false, err
	}
	if locked, err = e.getLock(ctx, expiryLock(s.options.DB, s.table), 0); err != nil || !locked {
		return false, err
	}
	// A row that another program locks is left for the next pass.
	if _, err := e.ExecContext(ctx, "SET SESSION innodb_lock_wait_timeout=1"); err != nil {
		return false, fmt.Errorf("limit the wait for locks: %w", err)
	}
	if len(s.hosts) > 1 {
		return true, nil
	}
	status, err := e.readStatus(ctx, "Uptime")
	uptime, failed := strconv.ParseInt(status["uptime"], 10, 64)
	if err == nil && failed == nil {
		e.start = time.Now().Add(-time.Duration(uptime+1) * time.Second)
	}
	return true, err
}

// expiryLock returns the name of the user lock, which has at most 64 characters.
func expiryLock(db string, t table) string {
	if t.schema != "" {
		db = t.schema
	}
	h := fnv.New128a()
	h.Write([]byte(db + "." + t.name))
	return fmt.Sprintf("goguerrillad expire %x", h.Sum(nil))
}

// canExpire returns the column that identifies a row, or an error if the user may not
// delete rows, or if the table lacks the column date or an index. Without an index each
// piece would read the whole table.
func (c *conn) canExpire(ctx context.Context, t table) (key string, err error) {
	if _, err := c.ExecContext(ctx, "DELETE FROM "+t.String()+" WHERE 1=0"); err != nil {
		if e, ok := errors.AsType[*mysql.MySQLError](err); ok && e.Number == errNoTableRight {
			return "", fmt.Errorf("GM_KEEP_HOURS needs the right DELETE: %w: want %s", err, c.grant(ctx, "DELETE", t))
		}
		return "", fmt.Errorf("try a DELETE without a row: %w", err)
	}
	var date, mailID, hash, dateIndexed bool
	err = c.QueryRowContext(ctx, "SELECT EXISTS(SELECT 1 FROM information_schema.COLUMNS WHERE "+t.condition()+" AND COLUMN_NAME='date'),"+
		"MAX(COLUMN_NAME='date') IS TRUE,MAX(COLUMN_NAME='mail_id') IS TRUE,MAX(COLUMN_NAME='hash') IS TRUE"+
		" FROM information_schema.STATISTICS WHERE "+t.condition()+" AND SEQ_IN_INDEX=1").Scan(&date, &dateIndexed, &mailID, &hash)
	switch {
	case err != nil:
		return "", fmt.Errorf("read the indexes of %s: %w", t, err)
	case !date:
		return "", fmt.Errorf("GM_KEEP_HOURS needs the column date in the table %s", t)
	case !dateIndexed:
		return "", fmt.Errorf("GM_KEEP_HOURS needs an index: want ALTER TABLE %s ADD KEY `date` (`date`)", t)
	case mailID:
		return "mail_id", nil
	case !hash:
		return "", fmt.Errorf("GM_KEEP_HOURS needs an index: want ALTER TABLE %s ADD KEY `hash` (`hash`)", t)
	}
	return "hash", nil
}

// selection returns the columns of the table.
func (c *conn) selection(ctx context.Context, t table) (newmail.Selection, error) {
	all, _, err := t.queryColumns(ctx, c)
	if err != nil {
		return newmail.Selection{}, fmt.Errorf("read the columns of %s: %w", t, err)
	}
	has := newmail.Selection{Quote: quote}
	for _, column := range all {
		has.Names = append(has.Names, column.Name)
	}
	return has, nil
}

// expire deletes one piece.
func (e *expiry) expire(ctx context.Context, t table, before time.Time) (savemail.Expired, error) {
	began := time.Now()
	rows, err := e.oldRows(ctx, t, before, 0)
	if err == nil && len(rows) > 0 && rows[0].unsure() {
		rows, err = e.oldRows(ctx, t, before, maxZones) // instead of a pass over many rows that stay
	}
	if err != nil {
		return savemail.Expired{}, fmt.Errorf("find old messages: %w", err)
	}
	var due []string
	for _, r := range rows {
		ok, err := e.due(ctx, r, before)
		if err != nil {
			return savemail.Expired{}, fmt.Errorf("compare the date of a message: %w", err)
		}
		if ok {
			due = append(due, r.key)
		}
	}
	deleted, err := e.delete(ctx, t, before, due)
	if err != nil {
		return savemail.Expired{}, fmt.Errorf("delete old messages: %w", err)
	}
	e.stay += len(rows) - deleted
	expired := savemail.Expired{Rows: deleted, More: len(rows) == e.piece}
	if !expired.More {
		e.stay = 0 // the next pass
	}
	switch took := time.Since(began); {
	case took > pieceTime:
		e.piece = max(e.piece/2, minPiece)
	case took < pieceTime/2:
		e.piece = min(2*e.piece, maxPiece)
	}
	var oldest sql.NullFloat64
	if err := e.QueryRowContext(ctx, "SELECT UNIX_TIMESTAMP(MIN(`date`)) FROM "+t.String()).Scan(&oldest); err != nil {
		return savemail.Expired{}, fmt.Errorf("read the oldest date: %w", err)
	}
	if oldest.Float64 > 0 {
		expired.Oldest = time.Unix(int64(oldest.Float64), 0)
	}
	return expired, nil
}

// delete deletes the rows with these keys whose date is before a time, and returns their
// number. If it fails because of the rows, for example because another program locks one of
// them, it deletes them one by one, without those that cannot be deleted.
func (e *expiry) delete(ctx context.Context, t table, before time.Time, keys []string) (int, error) {
	if len(keys) == 0 {
		return 0, nil
	}
	began, literals := time.Now(), make([]string, len(keys))
	for i, k := range keys {
		literals[i] = literal(k)
		if _, err := strconv.ParseUint(k, 10, 64); err == nil && e.key == "mail_id" {
			literals[i] = k
		}
	}
	deleted, err := e.deleteKeys(ctx, t, before, literals...)
	if !isAboutRows(err) {
		return deleted, err
	}
	for _, l := range literals {
		n, err := e.deleteKeys(ctx, t, before, l)
		deleted += n
		switch {
		case isAboutRows(err) && time.Since(began) > maxLockTime:
			return deleted, nil // the rest stays in this pass
		case err != nil && !isAboutRows(err):
			return deleted, err
		}
	}
	return deleted, nil
}

// maxLockTime is how long one piece waits for locks of other programs.
const maxLockTime = 3 * time.Second

// deleteKeys deletes the rows with these keys whose date is still before a time: another
// program may have changed it, and the keys may not be unique. The addition keeps the
// server from using the index on date, whose gaps it would lock.
func (e *expiry) deleteKeys(ctx context.Context, t table, before time.Time, literals ...string) (int, error) {
	result, err := e.ExecContext(ctx, fmt.Sprintf("DELETE FROM %s WHERE %s IN (%s) AND `date`+INTERVAL 0 SECOND<NOW()-INTERVAL %d SECOND",
		t, quote(e.key), strings.Join(literals, ","), int64(time.Since(before)/time.Second)))
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}

// isAboutRows reports whether a row is the reason of an error of a DELETE.
func isAboutRows(err error) bool {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && (e.Number == errLockTimeout || e.Number == errReferenced)
}

// The errors of a DELETE for which a row is the reason.
const (
	errLockTimeout = 1205
	errReferenced  = 1451 // a foreign key refers to the row
)
