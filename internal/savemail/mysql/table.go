package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"goguerrillad/internal/savemail"
)

// A table is the name of one. Its parts go into statements between backticks,
// which every sql_mode understands.
type table struct {
	schema string // "" is the connection's
	name   string
}

func newTable(name string) table {
	if schema, name, ok := strings.Cut(name, "."); ok {
		return table{schema, name}
	}
	return table{"", name}
}

func (t table) String() string {
	if t.schema == "" {
		return quote(t.name)
	}
	return quote(t.schema) + "." + quote(t.name)
}

func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// into is the beginning of an INSERT.
func (t table) into() string {
	written := savemail.Written()
	for i := range written {
		written[i] = quote(written[i])
	}
	return "INSERT INTO " + t.String() + " (" + strings.Join(written, ",") + ") "
}

// row has the values of savemail.Written: the server's clock, spam_score 0,
// and perRow parameters.
const (
	row    = "(NOW(),?,?,?,?,?,?,0,?,?,?,?,?,?)"
	perRow = 12
)

func (t table) insert(rows int) string {
	return t.into() + "VALUES " + row + strings.Repeat(","+row, rows-1)
}

// probe is an INSERT of no row.
func (t table) probe() string {
	return t.into() + "SELECT NOW(),'','','','','','',0,'','','',0,'','[]' FROM DUAL WHERE 1=0"
}

// columns reads what the table takes.
func (t table) columns(ctx context.Context, c *conn) (*savemail.Columns, error) {
	rows, err := c.QueryContext(ctx, "SELECT COLUMN_NAME, CHARACTER_MAXIMUM_LENGTH, CHARACTER_OCTET_LENGTH, CHARACTER_SET_NAME"+
		" FROM information_schema.COLUMNS WHERE TABLE_SCHEMA=IF(?='',DATABASE(),?) AND TABLE_NAME=? ORDER BY ORDINAL_POSITION",
		t.schema, t.schema, t.name)
	if err != nil {
		return nil, fmt.Errorf("read the columns of %s: %w", t, err)
	}
	defer rows.Close()
	var all []savemail.Column
	for rows.Next() {
		var name string
		var chars, bytes sql.NullInt64
		var charset sql.NullString
		if err := rows.Scan(&name, &chars, &bytes, &charset); err != nil {
			return nil, fmt.Errorf("read the columns of %s: %w", t, err)
		}
		all = append(all, savemail.Column{Name: name, Chars: chars.Int64, Bytes: bytes.Int64, Charset: charset.String})
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the columns of %s: %w", t, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("the table %s does not exist, or the user has no rights on it", t)
	}
	columns, err := savemail.NewColumns(all)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	return columns, nil
}
