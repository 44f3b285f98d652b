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

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// inspectTimeout bounds the check of one host.
const inspectTimeout = 5 * time.Second

// inspect is savemail.Driver.Inspect: it connects to each host as the store does, which
// checks the table, the columns and the rights without storing a row. expires means that the
// daemon deletes old rows.
func inspect(ctx context.Context, o Options, expires bool) (warnings []string, err error) {
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
		hosts.Go(func() { errs[i] = s.inspectHost(ctx, h, expires) })
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

func (s *Store) inspectHost(ctx context.Context, h *host, expires bool) error {
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	c, err := s.connect(ctx, h)
	if ctx.Err() != nil {
		err = fmt.Errorf("no reply in %v", inspectTimeout)
	}
	if c != nil {
		defer c.destroy()
	}
	if err == nil && expires {
		if _, err := c.canExpire(ctx, s.table); err != nil {
			s.options.Log.Warn("old messages cannot be deleted", "host", h.name, "error", err)
		}
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
