package mysql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/go-sql-driver/mysql"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// inspect is savemail.Driver.Inspect: it connects to each host as the store does, which
// checks the table, the columns and the rights without storing a row.
func inspect(ctx context.Context, o Options) (warnings []string, err error) {
	var found savemail.Warnings
	o.Log = slog.New(&found)
	s, err := New(o)
	if err != nil {
		return nil, fmt.Errorf("MYSQL_HOST: %w", err)
	}
	defer s.Close()
	var unavailable []error
	for _, h := range s.hosts {
		c, err := s.connect(ctx, h)
		if err == nil {
			c.destroy()
			continue
		}
		err = fmt.Errorf("%s as user %q: %w", h, o.User, err)
		if isMistake(err) {
			return found.List(), err
		}
		unavailable = append(unavailable, err)
	}
	warnings = found.List()
	if len(unavailable) == len(s.hosts) {
		return warnings, fmt.Errorf("%w: %w", savemail.ErrUnavailable, errors.Join(unavailable...))
	}
	for _, err := range unavailable {
		warnings = append(warnings, "one server of MYSQL_HOST cannot be used: "+err.Error())
	}
	return warnings, nil
}

// isMistake reports whether only an operator can remove the cause of an error.
func isMistake(err error) bool {
	if errors.Is(err, errNoTable) || errors.Is(err, newmail.ErrColumns) {
		return true
	}
	e, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok {
		return false
	}
	switch e.Number {
	case 1044, 1045, 1698, 3118, 3159, // access denied, account locked, TLS required
		1049, 1146, 1054, // unknown database, table, column
		1142, 1143, 1227, 1370, // no right
		errNoDefault:
		return true
	}
	return false
}
