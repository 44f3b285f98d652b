package sqlite

import (
	"context"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
)

// save runs one transaction on s.database. ctx bounds the start of the transaction,
// and is checked before each row. The INSERT and the COMMIT run without ctx: with a
// context, the driver would start a goroutine for each row.
func (s *Store) save(ctx context.Context, batch []*envelope.Envelope) error {
	checkpointer := s.database.checkpointer // s.database is nil after closeDatabase
	if err := checkpointer.lock(ctx); err != nil {
		return fmt.Errorf("%w: %s: wait for a checkpoint: %w", savemail.ErrUnavailable, s.options.File, err)
	}
	defer checkpointer.unlock()
	if _, err := s.database.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return s.abort("begin", err)
	}
	if err := s.database.updateColumns(ctx, s.options.Table); err != nil {
		return s.abort("table", err)
	}
	for _, e := range batch {
		if err := s.insert(ctx, e); err != nil {
			return s.abort("insert", err)
		}
	}
	if err := checkpointer.err(); err != nil {
		// After a failed checkpoint, pages that the transaction has read may not be on
		// the disk.
		return s.abort("checkpoint", err)
	}
	if _, err := s.database.conn.ExecContext(context.Background(), "COMMIT"); err != nil {
		return s.handleCommitError(err)
	}
	checkpointer.countCommit(s.database.conn)
	return nil
}

// insert inserts the rows of an envelope.
func (s *Store) insert(ctx context.Context, e *envelope.Envelope) error {
	row, err := s.database.columns.Row(e, s.options.Compress)
	if err != nil {
		return err
	}
	date := e.Date.UTC().Format(dateLayout)
	for i := range e.To {
		to := &e.To[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		var message []byte
		if !row.InRedis(to) {
			message = e.Blob(i)
			if row.Compressed {
				s.scratch = s.compressor.Append(s.scratch[:0], message)
				message = s.scratch
			}
		}
		s.args = row.Append(s.args[:0], date, to, message)
		result, err := s.database.insert.ExecContext(context.Background(), s.args...)
		clear(s.args)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err == nil && n == 0 && !s.database.view {
			return errSkipped
		}
	}
	if cap(s.scratch) > maxScratch {
		s.scratch = nil
	}
	return nil
}

// errSkipped means that the row was not stored, although SQLite returned no error.
var errSkipped = fmt.Errorf("%w: a trigger (RAISE(IGNORE)) or a constraint (ON CONFLICT IGNORE) of the table has skipped the row", savemail.ErrRejected)

// maxScratch is the maximum size of s.scratch, in bytes, between two messages.
const maxScratch = 1 << 20

// abort rolls back a transaction before its COMMIT, so nothing of it is stored. It
// closes the file if the rollback fails or err may be a failure of the file.
func (s *Store) abort(operation string, err error) error {
	rolledBack := s.rollback()
	switch code := primary(err); {
	case errors.Is(err, savemail.ErrRejected):
	case isDataError(err):
		err = fmt.Errorf("%w: %s: %w", savemail.ErrRejected, operation, err)
	default:
		healthy := code == lib.SQLITE_BUSY || code == lib.SQLITE_LOCKED ||
			errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
		rolledBack = rolledBack && healthy
		err = fmt.Errorf("%w: %s: %s: %w", savemail.ErrUnavailable, s.options.File, operation, err)
	}
	if !rolledBack {
		s.suspect = true
		s.closeDatabase()
	}
	return err
}

// A commitError is an error of COMMIT after which the outcome is unknown.
type commitError struct{ error }

// handleCommitError closes the file after a failed COMMIT. If the disk was full,
// the last frame of the transaction was not written, so nothing is stored. After
// any other error, the transaction may be in the WAL and on the disk.
func (s *Store) handleCommitError(err error) error {
	full := s.rollback() && primary(err) == lib.SQLITE_FULL
	err = fmt.Errorf("%s: commit: %w", s.options.File, err)
	s.suspect = true
	s.closeDatabase()
	if full {
		return fmt.Errorf("%w: %w", savemail.ErrUnavailable, err)
	}
	return &commitError{err}
}

// rollback ends the transaction and reports whether no transaction is active now.
// After some errors SQLite has already rolled back.
func (s *Store) rollback() bool {
	_, err := s.database.conn.ExecContext(context.Background(), "ROLLBACK")
	return err == nil || primary(err) == lib.SQLITE_ERROR // "cannot rollback - no transaction is active"
}

// isDataError reports whether SQLite rejected the values of the message. A missing
// value for a NOT NULL column is an error of the table, not of the message.
func isDataError(err error) bool {
	switch primary(err) {
	case lib.SQLITE_TOOBIG, lib.SQLITE_MISMATCH:
		return true
	case lib.SQLITE_CONSTRAINT:
		return extended(err) != lib.SQLITE_CONSTRAINT_NOTNULL
	}
	return false
}

// extended returns SQLite's extended result code, or 0 if err is not from SQLite.
func extended(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}

// primary returns SQLite's primary result code, or 0 if err is not from SQLite.
func primary(err error) int { return extended(err) & 0xFF }
