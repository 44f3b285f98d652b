package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"goguerrillad/internal/savemail/newmail"
)

// A table is the name of a table. Statements quote it with backticks, which
// every sql_mode accepts.
type table struct {
	schema string // "" is the connection's schema
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

// condition returns the WHERE condition for this table in information_schema.
func (t table) condition() string {
	schema := "DATABASE()"
	if t.schema != "" {
		schema = literal(t.schema)
	}
	return "TABLE_SCHEMA=" + schema + " AND TABLE_NAME=" + literal(t.name)
}

var errNoTable = errors.New("the table does not exist, or the user has no rights on it")

// literal returns a string as an SQL literal. A parameter would be bytes
// (conn.setUp), for which the server cannot use an index on text.
func literal(s string) string { return fmt.Sprintf("_utf8mb4 x'%x'", s) }

func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// insertPrefix returns the beginning of an INSERT, up to its column list.
func (t table) insertPrefix(targets []newmail.Target) string {
	var names []string
	for _, target := range targets {
		names = append(names, quote(target.Name))
	}
	return "INSERT INTO " + t.String() + " (" + strings.Join(names, ",") + ") "
}

// insertStatement returns an INSERT for the given number of rows. One CONVERT
// declares a parameter, which is sent as bytes (conn.setUp), to be UTF-8; another
// converts it to the column's set like conn.readCharset. The implicit conversion
// would depend on the column's collation and fail for some characters of the set
// (C1 controls in latin2_czech_cs).
func (t table) insertStatement(columns *newmail.Columns, rows int) string {
	targets := columns.Targets()
	var values []string
	for _, target := range targets {
		value := "?"
		switch target.Kind {
		case newmail.Clock:
			value = "NOW()"
		case newmail.Zero:
			value = "0"
		case newmail.Text:
			value = "CONVERT(? USING utf8mb4)"
			if target.Charset != "" {
				value = "CONVERT(" + value + " USING " + quote(target.Charset) + ")"
			}
		}
		values = append(values, value)
	}
	row := "(" + strings.Join(values, ",") + ")"
	return t.insertPrefix(targets) + "VALUES " + row + strings.Repeat(","+row, rows-1)
}

// emptyInsert returns an INSERT without a row.
func (t table) emptyInsert(columns *newmail.Columns) string {
	targets := columns.Targets()
	var values []string
	for _, target := range targets {
		switch target.Kind {
		case newmail.Clock:
			values = append(values, "NOW()")
		case newmail.Text, newmail.Bytes:
			values = append(values, "''")
		default:
			values = append(values, "0")
		}
	}
	return t.insertPrefix(targets) + "SELECT " + strings.Join(values, ",") + " FROM DUAL WHERE 1=0"
}

// emptySelect returns a SELECT that reads no row.
func (t table) emptySelect() string { return "SELECT `hash` FROM " + t.String() + " WHERE 1=0" }

// readColumns reads the table's columns and their character sets.
func (t table) readColumns(ctx context.Context, c *conn) (*newmail.Columns, error) {
	all, sets, err := t.queryColumns(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("read the columns of %s: %w", t, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("read the columns of %s: %w", t, t.missing(ctx, c))
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

// missing returns errNoTable with the server's reason. The reason is text, since the number
// of its error would delay the first probe of the host (failOver).
func (t table) missing(ctx context.Context, c *conn) error {
	if _, err := c.ExecContext(ctx, t.emptySelect()); err != nil {
		return fmt.Errorf("%w: %v", errNoTable, c.withGrant(ctx, t, err))
	}
	return errNoTable
}

// queryColumns returns the columns and the names of their character sets. The server
// fills generated columns itself.
func (t table) queryColumns(ctx context.Context, c *conn) (all []newmail.Column, sets []string, err error) {
	rows, err := c.QueryContext(ctx, "SELECT COLUMN_NAME, COLUMN_TYPE, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, CHARACTER_OCTET_LENGTH,"+
		" IFNULL(NUMERIC_PRECISION,0), IFNULL(NUMERIC_SCALE,0), IFNULL(CHARACTER_SET_NAME,''), EXTRA,"+
		" IS_NULLABLE='NO' AND COLUMN_DEFAULT IS NULL AND DATA_TYPE<>'enum'"+ // the default of an enum is its first value
		" FROM information_schema.COLUMNS WHERE "+t.condition()+" ORDER BY ORDINAL_POSITION")
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var col newmail.Column
		var kind, set, extra string
		var chars, bytes sql.NullInt64
		var precision, scale int64
		if err := rows.Scan(&col.Name, &col.Type, &kind, &chars, &bytes, &precision, &scale, &set, &extra, &col.Required); err != nil {
			return nil, nil, err
		}
		extra = strings.ToUpper(extra)
		if strings.Contains(extra, "VIRTUAL") || strings.Contains(extra, "STORED") {
			continue
		}
		col.Type = strings.ToLower(strings.ReplaceAll(col.Type, " ", ""))
		col.Required = col.Required && !strings.Contains(extra, "AUTO_INCREMENT")
		switch {
		case !strings.HasSuffix(kind, "text"):
			if set != "" { // the limit is in characters
				bytes.Int64 = 0
			}
		case isTiDB(c.variables):
			bytes, chars.Int64 = chars, 0 // TiDB's CHARACTER_OCTET_LENGTH is too large
		default:
			chars.Int64 = 0
		}
		col.Chars, col.Bytes = chars.Int64, bytes.Int64
		col.Max = largestNumber(kind, strings.Contains(col.Type, "unsigned"), precision, scale)
		if length := max(col.Chars, col.Bytes); length > 0 {
			col.Max = largest(10, length)
		} else if chars.Valid && (strings.HasSuffix(kind, "char") || strings.HasSuffix(kind, "binary")) {
			col.Chars = newmail.Nothing
		}
		all = append(all, col)
		sets = append(sets, set)
	}
	return all, sets, rows.Err()
}

// largestNumber returns the largest number in a column of a numeric type, as
// Column.Max. It is 0 for all types that can hold the size of every message.
func largestNumber(kind string, unsigned bool, precision, scale int64) int64 {
	bits := map[string]int64{"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32}[kind]
	switch {
	case kind == "decimal":
		return largest(10, precision-scale)
	case kind == "bit":
		return largest(2, precision)
	case bits == 0:
		return 0
	case unsigned:
		return largest(2, bits)
	}
	return largest(2, bits-1)
}

// largest returns the largest number with the given number of digits, as Column.Max.
func largest(base, digits int64) int64 {
	if digits <= 0 {
		return newmail.Nothing
	}
	n := int64(1)
	for range digits {
		if n *= base; n > 1<<40 {
			return 0
		}
	}
	return n - 1
}
