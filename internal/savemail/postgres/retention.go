package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"goguerrillad/internal/savemail"
)

// The number of rows of a piece follows the time that it takes.
const (
	maxPiece  = 500
	pieceTime = 5 * time.Millisecond
)

// An expiry deletes old rows through its own connection. Only one goroutine uses it.
type expiry struct {
	conn  *conn  // nil while there is none
	key   string // column that identifies a row
	piece int    // rows of the next piece
	stay  int    // oldest rows that stay in this pass, since another program locks them or refers to them
}

// Expire deletes the oldest rows whose date is before a time. A date with a time zone does not
// depend on the settings of the server. A transaction lock makes other daemons wait, also
// behind PgBouncer. A row that another program locks or refers to stays until a later pass.
func (s *Store) Expire(ctx context.Context, before time.Time) (savemail.Expired, error) {
	e := &s.expiry
	if e.conn == nil {
		c, err := s.connect(ctx)
		if err != nil {
			return savemail.Expired{}, fmt.Errorf("%w: %w", savemail.ErrUnavailable, oneLine{err})
		}
		*e = expiry{conn: c, piece: 1}
		if e.key, err = s.table.canExpire(ctx, c); err != nil {
			e.close()
			return savemail.Expired{}, err
		}
	}
	single := e.piece == 1
	expired, err := e.expire(ctx, s.table, before)
	if isAboutRow(err) {
		if single {
			e.stay++
		}
		e.piece = 1
		return savemail.Expired{More: true}, nil
	}
	if err != nil {
		if class := classify(err); class == lost || class == conflict {
			err = fmt.Errorf("%w: %w", savemail.ErrUnavailable, err)
		}
		e.close()
		return savemail.Expired{}, fmt.Errorf("delete old messages: %w", err)
	}
	return expired, nil
}

// isAboutRow reports whether a row is the reason of an error of a DELETE: another program has
// locked it, or a foreign key refers to it.
func isAboutRow(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "55P03" || e.Code == "23503")
}

func (e *expiry) close() {
	if e.conn != nil {
		e.conn.destroy()
		e.conn = nil
	}
}

// canExpire returns the column that identifies a row, or an error if the user may not delete
// rows, or if the table lacks the column date or an index. Without an index each piece would
// read the whole table.
func (t table) canExpire(ctx context.Context, c *conn) (key string, err error) {
	if _, err := c.Exec(ctx, "DELETE FROM "+t.String()+" WHERE false"); err != nil {
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == errNoRight {
			var user string
			_ = c.QueryRow(ctx, "SELECT quote_ident(current_user)").Scan(&user) // else the statement is incomplete
			return "", fmt.Errorf("GM_KEEP_HOURS needs the right DELETE: %w: want GRANT DELETE ON %s TO %s", err, t, user)
		}
		return "", fmt.Errorf("try a DELETE without a row: %w", err)
	}
	var date, dateIndexed, mailID, hash bool
	err = c.QueryRow(ctx, `WITH first AS (
			SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
			WHERE i.indrelid = to_regclass($1::text) AND i.indpred IS NULL AND i.indisvalid)
		SELECT EXISTS(SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass($1::text) AND attname = 'date' AND NOT attisdropped),
			EXISTS(SELECT 1 FROM first WHERE attname = 'date'), EXISTS(SELECT 1 FROM first WHERE attname = 'mail_id'),
			EXISTS(SELECT 1 FROM first WHERE attname = 'hash')`, t.String()).Scan(&date, &dateIndexed, &mailID, &hash)
	switch {
	case err != nil:
		return "", fmt.Errorf("read the indexes of %s: %w", t, err)
	case !date:
		return "", fmt.Errorf("GM_KEEP_HOURS needs the column date in the table %s", t)
	case !dateIndexed:
		return "", fmt.Errorf("GM_KEEP_HOURS needs an index: want CREATE INDEX ON %s (date)", t)
	case mailID:
		return "mail_id", nil
	case !hash:
		return "", fmt.Errorf("GM_KEEP_HOURS needs an index: want CREATE INDEX ON %s (hash)", t)
	}
	return "hash", nil
}

// expire deletes one piece.
func (e *expiry) expire(ctx context.Context, t table, before time.Time) (expired savemail.Expired, err error) {
	began, locked := time.Now(), false
	err = pgx.BeginTxFunc(ctx, e.conn.Conn, writeTransaction, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock(hashtextextended('goguerrillad ' || $1::text, 0))", t.String()).Scan(&locked); err != nil || !locked {
			return err
		}
		// The commit need not be durable: a row that is back after a crash is deleted again.
		// The planner may not read the whole table, whatever its statistics are.
		for _, setting := range []string{"synchronous_commit=off", "lock_timeout=100", "enable_seqscan=off"} {
			if _, err := tx.Exec(ctx, "SET LOCAL "+setting); err != nil {
				return err
			}
		}
		key := quote(e.key)
		tag, err := tx.Exec(ctx, fmt.Sprintf("DELETE FROM %[1]s WHERE %[2]s IN (SELECT %[2]s FROM %[1]s WHERE date<$1 ORDER BY date LIMIT %[3]d OFFSET %[4]d)", t, key, e.piece, e.stay), before)
		if err != nil {
			return err
		}
		expired.Rows = int(tag.RowsAffected())
		if expired.More = expired.Rows >= e.piece; !expired.More {
			e.stay = 0 // the next pass
		}
		var oldest *time.Time
		if err := tx.QueryRow(ctx, "SELECT min(date)::timestamptz FROM "+t.String()).Scan(&oldest); err != nil {
			return err
		}
		if oldest != nil {
			expired.Oldest = *oldest
		}
		return nil
	})
	switch took := time.Since(began); {
	case took > pieceTime:
		e.piece = max(e.piece/2, 1)
	case took < pieceTime/2:
		e.piece = min(2*e.piece, maxPiece)
	}
	return expired, err
}
