package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-sql-driver/mysql"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// maxAttempts bounds the attempts to commit a batch. A batch is sent again only if
// it is certain that it was not committed.
const maxAttempts = 4

// save returns an error for each envelope that does not fit, and the outcome of
// the other envelopes.
func (s *Store) save(ctx context.Context, batch []*envelope.Envelope) (errs []error, outcome error) {
	// A consumer may delete rows that are older than Timeout (settle.go).
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	sending, stopSending := reserveSettleTime(ctx)
	defer stopSending()
	printable := false
	for attempt := 1; ; attempt++ {
		c, err := s.acquire(sending)
		if err != nil {
			return nil, err
		}
		at, statements := beforeCommit, [][]batchRow(nil)
		columns, err := c.currentColumns(sending, s)
		if err == nil {
			if printable {
				columns = columns.Printable()
			}
			var rows []batchRow
			if rows, errs = s.makeRows(c, columns, batch); len(rows) == 0 {
				s.release(c)
				return errs, nil
			}
			statements = c.splitRows(rows)
			at, err = c.commit(sending, s, columns, statements)
		}
		retry, err := s.finish(ctx, c, columns, statements, at, err)
		if !retry && !printable && len(batch) == 1 && isDataError(err) {
			// If the sender repeated the message, it would have the same values.
			s.options.Log.Warn("value rejected, storing the message with ASCII values", "hashes", batch[0].To[0].Hash, "error", err)
			retry, printable = true, true
		}
		if !retry || attempt == maxAttempts || sending.Err() != nil {
			return errs, err
		}
	}
}

// reserveSettleTime returns a context that ends when two thirds of the time until
// ctx's deadline have passed. The last third is for settling an unknown outcome.
func reserveSettleTime(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, _ := ctx.Deadline() // save has set it
	return context.WithDeadline(ctx, deadline.Add(-time.Until(deadline)/3))
}

// finish classifies the first error of a batch and releases or discards the
// connection. It returns the outcome of the batch and whether to retry.
func (s *Store) finish(ctx context.Context, c *conn, columns *newmail.Columns,
	statements [][]batchRow, at phase, err error) (retry bool, outcome error) {
	class := classify(err, at)
	if class == mismatched {
		class, err = s.recheckColumns(ctx, c, columns, err)
	}
	kind := savemail.ErrUnavailable
	switch class {
	case committed:
		s.release(c)
		return false, nil
	case unknown:
		return s.settle(ctx, c, statements, err)
	case rejected:
		kind = savemail.ErrRejected
	case conflict, notSent:
		retry = true
	case unavailable, notWritable:
		retry = s.failOver(c.host, class, err)
	}
	if class == unavailable || class == notWritable || class == notSent || !c.rollback(ctx) {
		s.discard(c)
	} else {
		s.release(c)
	}
	return retry, fmt.Errorf("%w: %s: %w", kind, c.host, err)
}

// failOver marks a host as unhealthy and reports whether another host is
// healthy.
func (s *Store) failOver(h *host, class errorClass, cause error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var delay time.Duration
	if _, ok := errors.AsType[*mysql.MySQLError](cause); ok && class == unavailable {
		delay = serverErrorDelay
	}
	s.markUnhealthy(h, cause, delay)
	return len(s.hosts) > 1 && slices.ContainsFunc(s.hosts, func(h *host) bool { return h.health.healthy() })
}

// recheckColumns reads the columns and their character sets again after a
// mismatched error. It returns the class of the error: conflict if the columns have
// changed.
func (s *Store) recheckColumns(ctx context.Context, c *conn, old *newmail.Columns, cause error) (errorClass, error) {
	c.host.charsets.Clear()
	if err := c.updateColumns(ctx, s); err != nil {
		return unavailable, err
	}
	if !c.host.columns.Load().Equal(old) {
		return conflict, cause
	}
	return classifyMismatch(cause), cause
}

// rollback ends an open transaction and reports whether the connection can be
// used again.
func (c *conn) rollback(ctx context.Context) bool {
	_, err := c.ExecContext(ctx, "ROLLBACK")
	return err == nil
}
