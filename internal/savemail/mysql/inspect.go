package mysql

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// inspectTimeout bounds the check of one host.
const inspectTimeout = 5 * time.Second

// inspect is savemail.Driver.Inspect: it connects to each host as the store does, which
// checks the table, the columns and the rights, and inserts a row that it rolls back.
func inspect(ctx context.Context, o Options, setup savemail.Setup) (warnings []string, err error) {
	var found savemail.Warnings
	o.Log = slog.New(&found)
	s, err := New(o)
	if err != nil {
		return nil, fmt.Errorf("MYSQL_HOST: %w", err)
	}
	defer s.Close()
	errs := make([]error, len(s.hosts))
	var hosts sync.WaitGroup // so that a host that hangs delays no other
	for i, h := range s.hosts {
		hosts.Go(func() { errs[i] = s.inspectHost(ctx, h, setup) })
	}
	hosts.Wait()
	var unavailable []string
	for i, err := range errs {
		switch {
		case isMistake(err):
			return found.List(), fmt.Errorf("%s as user %q: %w", s.hosts[i], o.User, err)
		case err != nil:
			unavailable = append(unavailable, fmt.Sprintf("%s as user %q: %v", s.hosts[i], o.User, err))
		}
	}
	if len(unavailable) == len(errs) {
		return found.List(), fmt.Errorf("%w: %s", savemail.ErrUnavailable, strings.Join(unavailable, "; "))
	}
	for i, err := range errs {
		if err != nil {
			o.Log.Warn("MySQL server unhealthy, using the others", "host", s.hosts[i].name, "reason", err)
		}
	}
	return found.List(), nil
}

func (s *Store) inspectHost(ctx context.Context, h *host, setup savemail.Setup) error {
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	c, err := s.connect(ctx, h)
	if c != nil {
		defer c.destroy()
	}
	if err == nil && setup.Sample != nil {
		if err = c.tryRow(ctx, s, setup.Sample); isRejection(err) {
			s.options.Log.Warn("MySQL table rejects a sample row", "host", h.name, "error", err)
			err = nil
		}
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("no reply in %v", inspectTimeout)
	}
	if err == nil && setup.Keep > 0 {
		if _, err := c.canExpire(ctx, s.table); err != nil {
			s.options.Log.Warn("old messages cannot be deleted", "host", h.name, "error", err)
		}
	}
	return err
}

// isRejection reports whether an error of tryRow is about the table.
func isRejection(err error) bool {
	_, ok := errors.AsType[*mysql.MySQLError](err)
	return ok || errors.Is(err, savemail.ErrRejected)
}

// tryRow inserts the rows of a message into a table of InnoDB and rolls back. Unlike an INSERT
// without a row, this runs the triggers and checks the constraints of the table. Whether they
// accept other messages is unknown.
func (c *conn) tryRow(ctx context.Context, s *Store, e *envelope.Envelope) error {
	engine, err := c.engine(ctx, s.table)
	if err != nil || !strings.EqualFold(engine, innoDB) {
		return err
	}
	columns := c.host.columns.Load()
	rows, errs := s.makeRows(c, columns, []*envelope.Envelope{e})
	if errs[0] != nil {
		return errs[0]
	}
	if _, err := c.ExecContext(ctx, "BEGIN"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	_, err = c.insertRows(ctx, s, columns, rows)
	if !c.rollback(ctx) && err == nil {
		err = errors.New("the server has not rolled back")
	}
	return err
}

// isMistake reports whether only an operator can remove the cause of an error.
func isMistake(err error) bool {
	for _, mistake := range []error{errNoTable, newmail.ErrColumns, mysql.ErrNoTLS, mysql.ErrUnknownPlugin,
		mysql.ErrOldPassword, mysql.ErrNativePassword, mysql.ErrCleartextPassword} {
		if errors.Is(err, mistake) {
			return true
		}
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	e, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok {
		return false
	}
	switch e.Number {
	case 1044, 1045, 1698, // access denied
		1130,       // no user may connect from this host
		1820, 1862, // password expired
		3118, 4151, // account locked
		3159,             // TLS required
		1049, 1146, 1054, // unknown database, table, column
		errNoTableRight, errNoColumnRight, 1227, 1370, // no right
		errNoDefault:
		return true
	}
	return false
}
