package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"goguerrillad/internal/savemail/newmail"
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
	written := newmail.Written()
	for i := range written {
		written[i] = quote(written[i])
	}
	return "INSERT INTO " + t.String() + " (" + strings.Join(written, ",") + ") "
}

// insert has rows times the values of newmail.Written: the server's clock as
// date, 0 as spam_score, and parameters. Those are bytes (conn.setUp), of which
// CONVERT makes text. It converts to the column's set as conn.learn does: the
// conversion of a column depends on its collation, and fails for characters that
// the set has otherwise (C1 controls in latin2_czech_cs).
func (t table) insert(columns *newmail.Columns, rows int) string {
	var values []string
	for _, name := range newmail.Written() {
		value := "CONVERT(? USING utf8mb4)"
		if set := columns.Charset(name); set != "" {
			value = "CONVERT(" + value + " USING " + quote(set) + ")"
		}
		switch name {
		case "date":
			value = "NOW()"
		case "spam_score":
			value = "0"
		case "has_attach":
			value = "?"
		case "mail":
			if !columns.MailIsText() {
				value = "?"
			}
		}
		values = append(values, value)
	}
	row := "(" + strings.Join(values, ",") + ")"
	return t.into() + "VALUES " + row + strings.Repeat(","+row, rows-1)
}

// probe is an INSERT of no row.
func (t table) probe() string {
	return t.into() + "SELECT NOW(),'','','','','','',0,'','','',0,'','[]' FROM DUAL WHERE 1=0"
}

// lookAt is a look-up that finds nothing and reads no row.
func (t table) lookAt() string { return "SELECT `hash` FROM " + t.String() + " WHERE 1=0" }

// columns reads what the table takes.
func (t table) columns(ctx context.Context, c *conn) (*newmail.Columns, error) {
	all, sets, err := t.readColumns(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("read the columns of %s: %w", t, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("the table %s does not exist, or the user has no rights on it", t)
	}
	for i, set := range sets {
		if all[i].Charset, err = c.charset(ctx, set); err != nil {
			return nil, err
		}
	}
	columns, err := newmail.NewColumns(all)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	return columns, nil
}

// readColumns returns the columns, and the names of their character sets.
func (t table) readColumns(ctx context.Context, c *conn) (all []newmail.Column, sets []string, err error) {
	rows, err := c.QueryContext(ctx, "SELECT COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, CHARACTER_OCTET_LENGTH,"+
		" IFNULL(CHARACTER_SET_NAME,'') FROM information_schema.COLUMNS WHERE "+t.is()+" ORDER BY ORDINAL_POSITION")
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name, kind, set string
		var chars, bytes sql.NullInt64
		if err := rows.Scan(&name, &kind, &chars, &bytes, &set); err != nil {
			return nil, nil, err
		}
		switch {
		case !strings.HasSuffix(kind, "text"):
			if set != "" { // the limit is in characters
				bytes.Int64 = 0
			}
		case isTiDB(c.facts):
			bytes, chars.Int64 = chars, 0 // it reports more bytes than it takes
		default:
			chars.Int64 = 0
		}
		all = append(all, newmail.Column{Name: name, Chars: chars.Int64, Bytes: bytes.Int64})
		sets = append(sets, set)
	}
	return all, sets, rows.Err()
}
