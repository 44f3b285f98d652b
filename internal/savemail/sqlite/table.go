package sqlite

import (
	"context"
	"fmt"
	"strings"

	"goguerrillad/internal/savemail/newmail"
)

// columnDefinitions are the columns of the MySQL schema in SQLite's types, which
// have no widths.
const columnDefinitions = `
	"mail_id"      INTEGER PRIMARY KEY AUTOINCREMENT,
	"date"         TEXT NOT NULL,
	"from"         TEXT NOT NULL,
	"to"           TEXT NOT NULL,
	"subject"      TEXT NOT NULL,
	"body"         TEXT NOT NULL,
	"charset"      TEXT NOT NULL,
	"mail"         BLOB NOT NULL,
	"spam_score"   REAL NOT NULL,
	"hash"         TEXT NOT NULL,
	"content_type" TEXT NOT NULL,
	"recipient"    TEXT NOT NULL,
	"has_attach"   INTEGER NOT NULL,
	"ip_addr"      TEXT NOT NULL,
	"delivered"    INTEGER NOT NULL DEFAULT 0,
	"attach_info"  TEXT NOT NULL,
	"dkim_valid"   INTEGER DEFAULT NULL`

// ensureTable creates the table if it is missing, reads its columns, and reports
// whether it created the table.
func (d *database) ensureTable(ctx context.Context, name string) (created bool, err error) {
	columns, err := d.readColumns(ctx, name)
	if err != nil {
		return false, err
	}
	if created = len(columns) == 0; created {
		if err := d.createTable(ctx, name); err != nil {
			return false, err
		}
		if columns, err = d.readColumns(ctx, name); err != nil {
			return false, err
		}
	}
	if d.columns, err = newmail.NewColumns(columns); err != nil {
		return false, fmt.Errorf("table %s: %w", name, err)
	}
	return created, nil
}

// readColumns returns the columns of the table, or none if it is missing.
func (d *database) readColumns(ctx context.Context, table string) ([]newmail.Column, error) {
	rows, err := d.conn.QueryContext(ctx, "SELECT name FROM pragma_table_info(?)", table)
	if err != nil {
		return nil, fmt.Errorf("read the columns: %w", err)
	}
	defer rows.Close()
	var columns []newmail.Column
	for rows.Next() {
		var c newmail.Column
		if err := rows.Scan(&c.Name); err != nil {
			return nil, fmt.Errorf("read the columns: %w", err)
		}
		columns = append(columns, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the columns: %w", err)
	}
	return columns, nil
}

// createTable creates the table and its indexes in one transaction. An index has the
// name of its table, a dot and its column. No table has a dot in its name, so the
// names of indexes are unique.
func (d *database) createTable(ctx context.Context, table string) error {
	var b strings.Builder
	b.WriteString("BEGIN IMMEDIATE;\n")
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s (%s\n);\n", quote(table), columnDefinitions)
	for _, key := range []string{"to", "hash", "date"} {
		fmt.Fprintf(&b, "CREATE INDEX IF NOT EXISTS %s ON %s (%s);\n", quote(table+"."+key), quote(table), quote(key))
	}
	b.WriteString("COMMIT;")
	if _, err := d.conn.ExecContext(ctx, b.String()); err != nil {
		return fmt.Errorf("create the table %s: %w", table, err)
	}
	return nil
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quote(n)
	}
	return strings.Join(quoted, ",")
}
