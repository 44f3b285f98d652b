package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// inspect is savemail.Driver.Inspect: it connects as the store does, which checks the table,
// the columns and the rights, and inserts a row that it rolls back.
func inspect(ctx context.Context, o Options, setup savemail.Setup) (warnings []string, err error) {
	var found savemail.Warnings
	o.Log = slog.New(&found)
	s, err := New(o)
	if err != nil {
		return nil, fmt.Errorf("POSTGRES_DSN: %w", err)
	}
	defer s.Close()
	c, err := s.connect(ctx)
	if err != nil {
		if err = (oneLine{err}); !isMistake(err) {
			err = fmt.Errorf("%w: %w", savemail.ErrUnavailable, err)
		}
		return found.List(), fmt.Errorf("POSTGRES_DSN: %w", err)
	}
	defer c.destroy()
	if setup.Sample != nil && !c.foreign {
		if err := c.tryRow(ctx, s, setup.Sample); isRejection(err) {
			o.Log.Warn("PostgreSQL table rejects a sample row", "error", err)
		} else if err != nil {
			return found.List(), fmt.Errorf("%w: POSTGRES_DSN: try to store a row: %w", savemail.ErrUnavailable, oneLine{err})
		}
	}
	if setup.Keep > 0 {
		if _, err := s.table.canExpire(ctx, c); err != nil {
			o.Log.Warn("old messages cannot be deleted", "error", err)
		}
	}
	return found.List(), nil
}

// tryRow inserts the rows of a message and rolls back. Unlike an INSERT without a row, this runs
// the triggers and checks the constraints, the partitions and the policies of the table. Whether
// they accept other messages is unknown.
func (c *conn) tryRow(ctx context.Context, s *Store, e *envelope.Envelope) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.replyTimeout())
	defer cancel()
	rows, errs := makeRows(c.columns, []*envelope.Envelope{e}, s.options.Compress, false)
	if errs[0] != nil {
		return errs[0]
	}
	defer func() {
		if _, rollback := c.Exec(ctx, "ROLLBACK"); err == nil {
			err = rollback
		}
	}()
	if _, err := c.insert(ctx, s, rows); err != nil {
		return err
	}
	if _, err := c.Exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
		return fmt.Errorf("check the deferred constraints: %w", err)
	}
	var visible bool
	if err := c.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+s.table.String()+" WHERE hash = $1)", e.To[0].Hash).Scan(&visible); err != nil {
		return fmt.Errorf("find the row by its hash: %w", err)
	}
	if !visible {
		return errInvisible
	}
	return nil
}

// errInvisible means that the daemon cannot find the row of a message by its hash, because of a
// policy of the table or a trigger. After a promotion, settling would take a stored message for a
// lost one (settle.go).
var errInvisible = errors.New("the user does not see the row that it has inserted")

// isRejection reports whether an error of tryRow is about the table.
func isRejection(err error) bool {
	_, ok := errors.AsType[*pgconn.PgError](err)
	return ok || errors.Is(err, errSkipped) || errors.Is(err, errInvisible) || errors.Is(err, savemail.ErrRejected)
}

// isMistake reports whether only an operator can remove the cause of an error.
func isMistake(err error) bool {
	for _, mistake := range []error{errNoTable, errUnsuitable, newmail.ErrColumns} {
		if errors.Is(err, mistake) {
			return true
		}
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	// A wrong password, user or database, a missing right, or another mistake in the schema.
	return strings.HasPrefix(e.Code, "28") || strings.HasPrefix(e.Code, "42") || slices.Contains([]string{"3D000", "3F000"}, e.Code)
}
