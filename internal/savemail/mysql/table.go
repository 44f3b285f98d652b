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

// is is the condition on information_schema's tables.
func (t table) is() string {
	schema := "DATABASE()"
	if t.schema != "" {
		schema = literal(t.schema)
	}
	return "TABLE_SCHEMA=" + schema + " AND TABLE_NAME=" + literal(t.name)
}

// literal is a string in a statement. A parameter would be bytes (conn.setUp),
// and an index on text is of no use for finding those.
func literal(s string) string { return fmt.Sprintf("_utf8mb4 x'%x'", s) }

func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// into is the beginning of an INSERT.
func (t table) into() string {
	written := savemail.Written()
	for i := range written {
		written[i] = quote(written[i])
	}
	return "INSERT INTO " + t.String() + " (" + strings.Join(written, ",") + ") "
}

// insert has rows times the values of savemail.Written: the server's clock as
// date, 0 as spam_score, and parameters. Those are bytes (conn.setUp): what goes
// into a column of text is converted.
func (t table) insert(rows int) string {
	const (
		text = "CONVERT(? USING utf8mb4)"
		row  = "(NOW()," + text + "," + text + "," + text + "," + text + "," + text + ",?,0," +
			text + "," + text + "," + text + ",?," + text + "," + text + ")"
	)
	return t.into() + "VALUES " + row + strings.Repeat(","+row, rows-1)
}

// probe is an INSERT of no row.
func (t table) probe() string {
	return t.into() + "SELECT NOW(),'','','','','','',0,'','','',0,'','[]' FROM DUAL WHERE 1=0"
}

// lookAt is a look-up that finds nothing and reads no row.
func (t table) lookAt() string { return "SELECT `hash` FROM " + t.String() + " WHERE 1=0" }

// columns reads what the table takes.
func (t table) columns(ctx context.Context, c *conn) (*savemail.Columns, error) {
	rows, err := c.QueryContext(ctx, "SELECT COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, CHARACTER_OCTET_LENGTH, CHARACTER_SET_NAME"+
		" FROM information_schema.COLUMNS WHERE "+t.is()+" ORDER BY ORDINAL_POSITION")
	if err != nil {
		return nil, fmt.Errorf("read the columns of %s: %w", t, err)
	}
	defer rows.Close()
	var all []savemail.Column
	for rows.Next() {
		var name, kind string
		var chars, bytes sql.NullInt64
		var charset sql.NullString
		if err := rows.Scan(&name, &kind, &chars, &bytes, &charset); err != nil {
			return nil, fmt.Errorf("read the columns of %s: %w", t, err)
		}
		if strings.HasSuffix(kind, "text") {
			bytes = chars // TiDB says more, and takes no more
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
