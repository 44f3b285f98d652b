package mysql

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"

	"goguerrillad/internal/recipient"
)

const (
	queryTimeout  = 6 * time.Second // replaces Options.Timeout; the timeout of a reply is 2 s
	recentFailure = 3 * time.Second // after a failure, a host is queried last for this time
	maxIdleTime   = time.Minute     // of a connection
)

// Recipients runs GM_RECIPIENT_QUERY on the first host of Options.Hosts that
// replies. It has at most recipient.Connections connections to each host, and
// closes a connection that is idle for 1 min.
type Recipients struct {
	query recipient.Query
	hosts []*recipientHost
}

type recipientHost struct {
	*host

	mu        sync.Mutex // guards the fields below
	statement *sql.Stmt  // nil until it was prepared
	failed    time.Time  // time of the last query if it failed, else zero
}

// NewRecipients returns a Recipients for the query. It connects at the first
// call of Has. An error means that the options are invalid.
func NewRecipients(o Options, q recipient.Query) (*Recipients, error) {
	o.Timeout = queryTimeout
	hosts, err := newHosts(o, allConns, newOnceLogger(cmp.Or(o.Log, slog.Default())))
	if err != nil {
		return nil, err
	}
	r := &Recipients{query: q}
	for _, h := range hosts {
		h.db.SetMaxOpenConns(recipient.Connections)
		h.db.SetMaxIdleConns(recipient.Connections)
		h.db.SetConnMaxIdleTime(maxIdleTime)
		r.hosts = append(r.hosts, &recipientHost{host: h})
	}
	return r, nil
}

// Has reports whether the query returns a row. If no host replies, it returns the
// errors of all hosts. The error is recipient.ErrInvalid if a server rejects the
// query.
func (r *Recipients) Has(ctx context.Context, address, domain string) (bool, error) {
	var errs []error
	for _, h := range r.byHealth() {
		found, err := h.hasRow(ctx, r.query, address, domain)
		if err == nil {
			return found, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", h.name, err))
		if ctx.Err() != nil {
			break
		}
	}
	return false, errors.Join(errs...)
}

// byHealth returns the hosts in order, but hosts that failed recently last.
func (r *Recipients) byHealth() []*recipientHost {
	var healthy, unhealthy []*recipientHost
	for _, h := range r.hosts {
		if h.failedRecently() {
			unhealthy = append(unhealthy, h)
		} else {
			healthy = append(healthy, h)
		}
	}
	return slices.Concat(healthy, unhealthy)
}

func (h *recipientHost) failedRecently() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.failed) < recentFailure
}

func (h *recipientHost) hasRow(ctx context.Context, q recipient.Query, address, domain string) (found bool, err error) {
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.failed = time.Time{}
		if err != nil {
			h.failed = time.Now()
		}
	}()
	s, err := h.prepareQuery(ctx, q)
	if err != nil {
		return false, queryError(err)
	}
	found, err = recipient.Found(s.QueryContext(ctx, q.Args(address, domain)...))
	return found, queryError(err)
}

// prepareQuery returns the statement. database/sql prepares it on each connection
// when necessary.
func (h *recipientHost) prepareQuery(ctx context.Context, q recipient.Query) (*sql.Stmt, error) {
	h.mu.Lock()
	s := h.statement
	h.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := h.db.PrepareContext(ctx, q.SQL)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.statement != nil { // another goroutine was faster
		return h.statement, s.Close()
	}
	h.statement = s
	return s, nil
}

// queryError wraps an error in recipient.ErrInvalid if the server rejected the
// query. It returns other errors and nil unchanged.
func queryError(err error) error {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok {
		return err
	}
	switch e.Number {
	case 1040, 1044, 1045, 1049, 1129, 1130, 1203, 1226, // connection refused
		1047, 1053, 1205, 1213, 1317, 1969, 3024: // temporary
		return err
	}
	return fmt.Errorf("%w: %w", recipient.ErrInvalid, err)
}

// Close closes the connections.
func (r *Recipients) Close() error {
	var errs []error
	for _, h := range r.hosts {
		errs = append(errs, h.db.Close())
	}
	return errors.Join(errs...)
}
