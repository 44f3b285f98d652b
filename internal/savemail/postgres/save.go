package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// maxAttempts bounds the attempts to commit a batch. A batch is sent again only if it is
// certain that it was not committed.
const maxAttempts = 4

// A batchRow is one row of a batch.
type batchRow struct {
	*newmail.Row
	envelope *envelope.Envelope
	i        int // index of the recipient
}

// save returns an error for each envelope that does not fit, and the outcome of the other
// envelopes.
func (s *Store) save(ctx context.Context, batch []*envelope.Envelope) (errs []error, outcome error) {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	// The last third of the time is for settling an unknown outcome.
	sending, stop := context.WithDeadline(ctx, deadline.Add(-time.Until(deadline)/3))
	defer stop()
	printable := false
	for attempt := 1; ; attempt++ {
		c, err := s.acquire(sending)
		if err != nil {
			return nil, err
		}
		var rows []batchRow
		var xid string
		class := unavailable
		if err = c.refreshColumns(sending, s); err == nil {
			if rows, errs = makeRows(c.columns, batch, s.options.Compress, printable); len(rows) == 0 {
				s.finishUse(c, nil)
				return errs, nil
			}
			xid, class, err = c.commit(sending, s, rows)
		}
		if class == unknown {
			s.finishUse(c, err) // before the server is asked
			s.discardIdle()
			class, err = s.settle(ctx, c.server, xid, hashes(rows), err)
		} else if class == rejected || class == conflict {
			s.finishUse(c, nil)
		} else {
			s.finishUse(c, err)
		}
		switch class {
		case committed:
			return errs, nil
		case unknown:
			return errs, fmt.Errorf("%w: %w", savemail.ErrUnknown, oneLine{err})
		case rejected:
			if printable || len(batch) > 1 || !isDataError(err) {
				return errs, fmt.Errorf("%w: %w", savemail.ErrRejected, err)
			}
			// If the sender repeated the message, it would have the same values.
			s.options.Log.Warn("value rejected, storing the message with ASCII values", "hashes", batch[0].To[0].Hash, "error", err)
			printable = true
		case lost:
			s.discardIdle()
		}
		if attempt == maxAttempts || class == unavailable || sending.Err() != nil {
			return errs, fmt.Errorf("%w: %w", savemail.ErrUnavailable, oneLine{err})
		}
	}
}

// refreshColumns reads the columns if they are old.
func (c *conn) refreshColumns(ctx context.Context, s *Store) error {
	if time.Since(c.columns.read) < columnsMaxAge {
		return nil
	}
	return c.readColumns(ctx, s)
}

// makeRows returns the rows of a batch, and an error for each envelope that does not fit.
func makeRows(c *columns, batch []*envelope.Envelope, compress, printable bool) (rows []batchRow, errs []error) {
	fitted := c.Columns
	if printable {
		fitted = c.Printable()
	}
	errs = make([]error, len(batch))
	for i, e := range batch {
		row, err := fitted.Row(e, compress)
		if err != nil {
			errs[i] = err
			continue
		}
		for j := range e.To {
			rows = append(rows, batchRow{row, e, j})
		}
	}
	return rows, errs
}

func hashes(rows []batchRow) []string {
	list := make([]string, len(rows))
	for i, r := range rows {
		list[i] = r.envelope.To[r.i].Hash
	}
	return list
}

// commit inserts the rows and commits them in a transaction of two round trips, so that the
// id of the transaction is known before its COMMIT is sent. Before that nothing can be
// stored.
func (c *conn) commit(ctx context.Context, s *Store, rows []batchRow) (xid string, class errorClass, err error) {
	inserting, cancel := context.WithTimeout(ctx, s.replyTimeout())
	defer cancel()
	if xid, err = c.insert(inserting, s, rows); err != nil {
		class = classify(err)
		if class != lost {
			if _, err := c.Exec(ctx, "ROLLBACK"); err != nil {
				return "", lost, err
			}
		}
		return "", c.recheckColumns(ctx, s, class, err), err
	}
	c.warnings = 0
	committing, cancel := context.WithTimeout(ctx, s.replyTimeout())
	defer cancel()
	results, err := c.PgConn().Exec(committing, "COMMIT").ReadAll()
	switch {
	case err != nil:
		err = fmt.Errorf("commit: %w", err)
		class = classify(err)
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.SeverityUnlocalized == "ERROR" && class != lost {
			return xid, c.recheckColumns(ctx, s, class, err), err // the server has rolled back
		}
		return xid, unknown, err
	case len(results) != 1 || results[0].CommandTag.String() != "COMMIT":
		return xid, unavailable, errors.New("commit: the server has rolled back")
	case c.warnings > 0:
		// A commit whose wait for a synchronous standby was canceled succeeds with a warning.
		return xid, unknown, fmt.Errorf("commit: %w", errNotReplicated)
	}
	return xid, committed, nil
}

var errNotReplicated = errors.New("the server has not waited for its standby")

// recheckColumns returns the class of an error after a rollback. If an old version of the
// columns may be the cause, it reads them again, and returns conflict if they have changed.
func (c *conn) recheckColumns(ctx context.Context, s *Store, class errorClass, cause error) errorClass {
	if class != mismatched {
		return class
	}
	old := c.columns.Columns
	if err := c.readColumns(ctx, s); err != nil {
		return unavailable
	}
	if !c.columns.Equal(old) {
		return conflict
	}
	if isDataError(cause) {
		return rejected
	}
	return unavailable
}
