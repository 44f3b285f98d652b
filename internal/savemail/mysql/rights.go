package mysql

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// checkRights clears c.session if the user has no right to SELECT or KILL, which
// settling needs.
func (c *conn) checkRights(ctx context.Context, s *Store) error {
	for _, right := range []struct{ needed, statement string }{
		{"SELECT", s.table.emptySelect()},
		{"KILL", "KILL 0"},
	} {
		_, err := c.ExecContext(ctx, right.statement)
		e, refused := errors.AsType[*mysql.MySQLError](err)
		switch {
		case refused && e.Number != errNoSuchThread:
			c.session = sessionID{}
			grant := ""
			if right.needed == "SELECT" {
				grant = c.grant(ctx, "SELECT", s.table)
			}
			c.warnCannotSettle(s, right.needed, grant, err)
		case err != nil && !refused:
			return fmt.Errorf("check the rights: %w", err)
		}
	}
	return nil
}

// warnCannotSettle warns that the outcome of a lost connection will stay unknown.
func (c *conn) warnCannotSettle(s *Store, needed, grant string, err error) {
	s.onceLog.warn("unsettled "+needed, "MySQL commit outcomes cannot be settled",
		"host", c.host.name, "needed", needed, "grant", grant, "error", err)
}

// withGrant adds to an error about a missing right the statement that grants the rights
// that the store needs.
func (c *conn) withGrant(ctx context.Context, t table, err error) error {
	if e, ok := errors.AsType[*mysql.MySQLError](err); !ok || e.Number != errNoTableRight && e.Number != errNoColumnRight {
		return err
	}
	if grant := c.grant(ctx, "SELECT, INSERT", t); grant != "" {
		return fmt.Errorf("%w: want %s", err, grant)
	}
	return err
}

// The errors about a missing right on a table, and on a column.
const (
	errNoTableRight  = 1142
	errNoColumnRight = 1143
)

// grant returns the statement by which an administrator grants rights, or "" if the
// account is unknown. It names the account of the session, whose host may be a pattern.
func (c *conn) grant(ctx context.Context, rights string, t table) string {
	var account, schema string
	if err := c.QueryRowContext(ctx, "SELECT CURRENT_USER(),IFNULL(DATABASE(),'')").Scan(&account, &schema); err != nil {
		return ""
	}
	i := strings.LastIndexByte(account, '@')
	if i < 0 {
		return ""
	}
	if t.schema == "" {
		t.schema = schema
	}
	return "GRANT " + rights + " ON " + t.String() + " TO " + quote(account[:i]) + "@" + quote(account[i+1:])
}
