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

// attempts is how often a batch is sent at most; only what is known not to be
// committed is sent again.
const attempts = 4

// save gives each envelope that cannot be stored its error, and the others
// together the second result.
func (s *Store) save(ctx context.Context, batch []*envelope.Envelope) (each []error, all error) {
	// A consumer may delete a row that is older (settle.go).
	ctx, end := context.WithTimeout(ctx, s.options.Timeout)
	defer end()
	sending, cancel := keepThird(ctx)
	defer cancel()
	printable := false
	for attempt := 1; ; attempt++ {
		c, err := s.acquire(sending)
		if err != nil {
			return nil, err
		}
		at, statements := before, [][]mailRow(nil)
		columns, err := c.current(sending, s)
		if err == nil {
			if printable {
				columns = columns.Printable()
			}
			var rows []mailRow
			if rows, each = s.rows(c, columns, batch); len(rows) == 0 {
				s.release(c)
				return each, nil
			}
			statements = c.statements(rows)
			at, err = c.commit(sending, s, columns, statements)
		}
		again, err := s.conclude(ctx, c, columns, statements, at, err)
		if !again && !printable && len(batch) == 1 && isDataError(err) {
			// No retry of the sender would help: the values would be the same.
			s.options.Log.Warn("value rejected, storing the message with ASCII values", "hashes", batch[0].To[0].Hash, "error", err)
			again, printable = true, true
		}
		if !again || attempt == attempts || sending.Err() != nil {
			return each, err
		}
	}
}

// keepThird keeps a third of the time for settling what has no answer.
func keepThird(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, _ := ctx.Deadline() // Save gives it one
	return context.WithDeadline(ctx, deadline.Add(-time.Until(deadline)/3))
}

// conclude gives the connection back, or drops it, and makes the batch's
// outcome from the first error and where it came up. It reports whether to try
// again.
func (s *Store) conclude(ctx context.Context, c *conn, columns *newmail.Columns,
	statements [][]mailRow, at phase, err error) (again bool, outcome error) {
	v := judge(err, at)
	if v == mismatched {
		v, again, err = s.look(ctx, c, columns, err)
	}
	kind := savemail.ErrUnavailable
	switch v {
	case committed:
		s.release(c)
		return false, nil
	case unknown:
		return s.settle(ctx, c, statements, err)
	case rejected:
		kind = savemail.ErrRejected
	case conflict, notSent:
		again = true
	case unavailable, elsewhere:
		again = s.yield(c.host, v, err)
	}
	if v == unavailable || v == elsewhere || v == notSent || !c.rollback(ctx) {
		s.discard(c)
	} else {
		s.release(c)
	}
	return again, fmt.Errorf("%w: %s: %w", kind, c.host, err)
}

// yield leaves a host alone that takes no mail, and reports whether there is
// another one to try.
func (s *Store) yield(h *host, v verdict, why error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := time.Duration(0)
	if _, told := errors.AsType[*mysql.MySQLError](why); told && v == unavailable {
		rest = restTime
	}
	s.ail(h, why, rest)
	return len(s.hosts) > 1 && slices.ContainsFunc(s.hosts, func(h *host) bool { return h.health.ailing == nil })
}

// look reads the columns and their character sets again after the table refused
// the values, and reports whether they have changed; if not, the values are
// rejected.
func (s *Store) look(ctx context.Context, c *conn, before *newmail.Columns, cause error) (v verdict, changed bool, err error) {
	c.host.charsets.Clear()
	if err := c.readColumns(ctx, s); err != nil {
		return unavailable, false, err
	}
	return refused(cause), !c.host.columns.Load().Equal(before), cause
}

// rollback ends what a failed statement has left open, and reports whether the
// connection is good for more.
func (c *conn) rollback(ctx context.Context) bool {
	_, err := c.ExecContext(ctx, "ROLLBACK")
	return err == nil
}
