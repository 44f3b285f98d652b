package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"goguerrillad/internal/recipient"
)

const (
	queryTimeout = 2 * time.Second // of one query
	maxIdleTime  = time.Minute     // of a connection
)

// Recipients runs GM_RECIPIENT_QUERY. It has at most recipient.Connections connections, and
// closes a connection that is idle for 1 min.
type Recipients struct {
	query recipient.Query
	db    *sql.DB
}

// NewRecipients returns a Recipients for the query. It connects at the first call of Has. An
// error means that the options are invalid.
func NewRecipients(o Options, q recipient.Query) (*Recipients, error) {
	o.Timeout = 3 * queryTimeout
	config, err := parseDSN(o)
	if err != nil {
		return nil, fmt.Errorf("POSTGRES_DSN: %w", err)
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(recipient.Connections)
	db.SetMaxIdleConns(recipient.Connections)
	db.SetConnMaxIdleTime(maxIdleTime)
	return &Recipients{q, db}, nil
}

// Has reports whether the query returns a row. The error is recipient.ErrInvalid if the server
// rejects the query. After the loss of a connection, Has tries once more.
func (r *Recipients) Has(ctx context.Context, address, domain string) (bool, error) {
	found, err := r.hasRow(ctx, address, domain)
	if err != nil && ctx.Err() == nil && classify(err) == lost {
		found, err = r.hasRow(ctx, address, domain)
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && (strings.HasPrefix(e.Code, "42") || e.Code == "0A000") {
		return false, fmt.Errorf("%w: %w", recipient.ErrInvalid, err)
	}
	if err != nil {
		return false, oneLine{err}
	}
	return found, nil
}

func (r *Recipients) hasRow(ctx context.Context, address, domain string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return recipient.Found(r.db.QueryContext(ctx, r.query.SQL, r.query.Args(address, domain)...))
}

// Close closes the connections.
func (r *Recipients) Close() error { return r.db.Close() }
