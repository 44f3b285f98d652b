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

// Times of a Recipients.
const (
	askTimeout = 6 * time.Second // in place of Options.Timeout: two seconds for an answer
	dontAsk    = 3 * time.Second // a host that has failed, while there is another
	idleBound  = time.Minute     // of a connection
)

// Recipients asks the database who receives, on connections of its own: at
// most recipient.Connections to each host, and none after a while without
// questions. The hosts are asked in order of preference.
type Recipients struct {
	query recipient.Query
	hosts []*asked
}

// asked is a host that is asked.
type asked struct {
	name string
	db   *sql.DB

	mu        sync.Mutex
	statement *sql.Stmt // nil until it could be prepared
	failed    time.Time
}

// NewRecipients returns what asks the query. It connects when that is needed.
func NewRecipients(o Options, q recipient.Query) (*Recipients, error) {
	o.Timeout = askTimeout
	hosts, err := newHosts(o, all, newOnce(cmp.Or(o.Log, slog.Default())))
	if err != nil {
		return nil, err
	}
	r := &Recipients{query: q}
	for _, h := range hosts {
		h.db.SetMaxOpenConns(recipient.Connections)
		h.db.SetMaxIdleConns(recipient.Connections)
		h.db.SetConnMaxIdleTime(idleBound)
		r.hosts = append(r.hosts, &asked{name: h.name, db: h.db})
	}
	return r, nil
}

// Has reports whether the query has a row. When no host answers, the error
// says why each does not.
func (r *Recipients) Has(ctx context.Context, address, domain string) (bool, error) {
	var errs []error
	for _, h := range r.inOrder() {
		found, err := h.has(ctx, r.query, address, domain)
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

// inOrder returns the hosts: those that have just failed come last.
func (r *Recipients) inOrder() []*asked {
	var well, ailing []*asked
	for _, h := range r.hosts {
		if h.rests() {
			ailing = append(ailing, h)
		} else {
			well = append(well, h)
		}
	}
	return slices.Concat(well, ailing)
}

func (h *asked) rests() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.failed.IsZero() && time.Since(h.failed) < dontAsk
}

func (h *asked) has(ctx context.Context, q recipient.Query, address, domain string) (found bool, err error) {
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.failed = time.Time{}
		if err != nil {
			h.failed = time.Now()
		}
	}()
	s, err := h.prepare(ctx, q)
	if err != nil {
		return false, refusal(err)
	}
	found, err = recipient.Found(s.QueryContext(ctx, q.Args(address, domain)...))
	return found, refusal(err)
}

// prepare returns the statement, which follows the host's connections.
func (h *asked) prepare(ctx context.Context, q recipient.Query) (*sql.Stmt, error) {
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
	if h.statement != nil { // somebody was faster
		return h.statement, s.Close()
	}
	h.statement = s
	return s, nil
}

// refusal tells an error that is the query's own; nil stays nil.
func refusal(err error) error {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok {
		return err
	}
	switch e.Number {
	case 1040, 1044, 1045, 1049, 1129, 1130, 1203, 1226, // no connection
		1047, 1053, 1205, 1213, 1317, 1969, 3024: // not now
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
