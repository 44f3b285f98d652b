package sqlite

import (
	"context"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// save is one transaction on s.file. A context only bounds the wait for its
// beginning and ends it between two rows: the driver would spend a goroutine a
// row on more.
func (s *Store) save(ctx context.Context, batch []*envelope.Envelope) error {
	checkpointer := s.file.checkpointer // s.file is nil after a failure
	if err := checkpointer.begin(ctx); err != nil {
		return fmt.Errorf("%w: %s: wait for a checkpoint: %w", savemail.ErrUnavailable, s.options.File, err)
	}
	defer checkpointer.end()
	if _, err := s.file.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return s.fail("begin", err)
	}
	for _, e := range batch {
		if err := s.insert(ctx, e); err != nil {
			return s.fail("insert", err)
		}
	}
	if err := checkpointer.err(); err != nil {
		// The transaction may have read pages that the kernel has dropped since.
		return s.fail("checkpoint", err)
	}
	if _, err := s.file.conn.ExecContext(context.Background(), "COMMIT"); err != nil {
		return s.failCommit(err)
	}
	checkpointer.committed(s.file.conn)
	return nil
}

// insert writes the rows of an envelope.
func (s *Store) insert(ctx context.Context, e *envelope.Envelope) error {
	row, err := s.file.columns.Row(e, s.options.Compress)
	if err != nil {
		return err
	}
	date := e.Date.UTC().Format(dateLayout)
	for i, to := range e.To {
		if err := ctx.Err(); err != nil {
			return err
		}
		body, mail := newmail.BodyRedis, []byte{} // nil would be NULL
		if !to.InRedis {
			body, mail = row.Body, e.Blob(i)
			if s.options.Compress {
				s.scratch = s.compressor.Append(s.scratch[:0], mail)
				mail = s.scratch
			}
		}
		if _, err := s.file.insert.ExecContext(context.Background(),
			date, row.From, to.Address, row.Subject, body, row.Charset, mail, to.Hash,
			row.ContentType, to.Address, row.HasAttach, row.IP, row.AttachInfo); err != nil {
			return err
		}
	}
	if cap(s.scratch) > maxScratch {
		s.scratch = nil
	}
	return nil
}

// maxScratch is what of a large mail's buffer is kept for the next, in bytes.
const maxScratch = 1 << 20

// fail ends a transaction that was not handed to COMMIT: nothing of it is
// stored. The connection is kept when the trouble is not its own.
func (s *Store) fail(doing string, err error) error {
	rolledBack := s.rollback()
	switch code := primary(err); {
	case errors.Is(err, savemail.ErrRejected):
	case isDataError(err):
		err = fmt.Errorf("%w: %s: %w", savemail.ErrRejected, doing, err)
	default:
		late := code == lib.SQLITE_BUSY || code == lib.SQLITE_LOCKED ||
			errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
		rolledBack = rolledBack && late
		err = fmt.Errorf("%w: %s: %s: %w", savemail.ErrUnavailable, s.options.File, doing, err)
	}
	if !rolledBack {
		s.suspect = true
		s.drop()
	}
	return err
}

// A commitError is an error of COMMIT that leaves the outcome open.
type commitError struct{ error }

// failCommit judges a COMMIT that failed. When the disk was full, the last frame
// of the transaction was not written, so nothing is stored. Any other error may
// have come after the transaction was in the WAL, also on the disk.
func (s *Store) failCommit(err error) error {
	full := s.rollback() && primary(err) == lib.SQLITE_FULL
	err = fmt.Errorf("%s: commit: %w", s.options.File, err)
	s.suspect = true
	s.drop()
	if full {
		return fmt.Errorf("%w: %w", savemail.ErrUnavailable, err)
	}
	return &commitError{err}
}

// rollback reports whether no transaction is open any more; SQLite ends one by
// itself after some errors.
func (s *Store) rollback() bool {
	_, err := s.file.conn.ExecContext(context.Background(), "ROLLBACK")
	// "cannot rollback - no transaction is active"
	return err == nil || primary(err) == lib.SQLITE_ERROR
}

// isDataError reports whether it is the values that SQLite refuses. A column
// that wants a value which nobody has for it is not the mail's fault.
func isDataError(err error) bool {
	switch primary(err) {
	case lib.SQLITE_TOOBIG, lib.SQLITE_MISMATCH:
		return true
	case lib.SQLITE_CONSTRAINT:
		return extended(err) != lib.SQLITE_CONSTRAINT_NOTNULL
	}
	return false
}

// extended is SQLite's extended result code, 0 when the error is not its own.
func extended(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}

func primary(err error) int { return extended(err) & 0xFF }
