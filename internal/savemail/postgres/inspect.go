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

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// inspect is savemail.Driver.Inspect: it connects as the store does, which checks the table,
// the columns and the rights without storing a row. expires means that the daemon deletes old
// rows.
func inspect(ctx context.Context, o Options, expires bool) (warnings []string, err error) {
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
	if expires {
		if _, err := s.table.canExpire(ctx, c); err != nil {
			o.Log.Warn("old messages cannot be deleted", "error", err)
		}
	}
	return found.List(), nil
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
