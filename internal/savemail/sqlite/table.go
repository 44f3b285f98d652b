package sqlite

import (
	"context"
	"fmt"
	"slices"
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

// ensureTable creates the table if it is missing, prepares the INSERT for its columns,
// and reports whether it created the table.
func (d *database) ensureTable(ctx context.Context, name string) (created bool, err error) {
	columns, err := d.readColumns(ctx, name)
	if err != nil {
		return false, err
	}
	if created = len(columns) == 0; created {
		if err := d.createTable(ctx, name); err != nil {
			return false, err
		}
	}
	if d.readVersion, err = d.conn.PrepareContext(ctx, "PRAGMA schema_version"); err != nil {
		return false, fmt.Errorf("prepare to read the schema version: %w", err)
	}
	return created, d.updateColumns(ctx, name)
}

// updateColumns reads the columns of the table and prepares the INSERT, if another
// program may have changed the table since the last call.
func (d *database) updateColumns(ctx context.Context, table string) error {
	var version int64
	if err := d.readVersion.QueryRowContext(ctx).Scan(&version); err != nil {
		return fmt.Errorf("read the schema version: %w", err)
	}
	if d.insert != nil && version == d.version {
		return nil
	}
	all, err := d.readColumns(ctx, table)
	if err != nil {
		return err
	}
	columns, statement, err := d.insertStatement(table, all)
	if err != nil {
		return err
	}
	insert, err := d.conn.PrepareContext(ctx, statement)
	if err != nil {
		return fmt.Errorf("prepare the INSERT: %w", err)
	}
	if d.insert != nil {
		err = d.insert.Close()
	}
	d.insert, d.columns, d.version = insert, columns, version
	return err
}

// insertStatement returns the columns that the daemon fills and the INSERT, or an error if
// the daemon cannot use the table.
func (d *database) insertStatement(table string, all []newmail.Column) (columns *newmail.Columns, statement string, err error) {
	columns, err = newmail.NewColumns(all)
	if err != nil {
		return nil, "", fmt.Errorf("table %s: %w", table, err)
	}
	if unfilled := columns.Unfilled(); len(unfilled) > 0 {
		return nil, "", fmt.Errorf("table %s needs a value or a default for the columns %s", table, strings.Join(unfilled, ", "))
	}
	var names, values, wrong []string
	for _, target := range columns.Targets() {
		value, possible := d.value(target, all)
		if !possible {
			wrong = append(wrong, target.Name)
		}
		names, values = append(names, quote(target.Name)), append(values, value)
	}
	if len(wrong) > 0 {
		return nil, "", fmt.Errorf("table %s is STRICT and cannot hold the values of the columns %s", table, strings.Join(wrong, ", "))
	}
	return columns, "INSERT INTO " + quote(table) + " (" + strings.Join(names, ",") + ") VALUES (" + strings.Join(values, ",") + ")", nil
}

// value returns the value of a column in the INSERT, and false if the column cannot have
// the value. A STRICT table does not convert between text and bytes. A hash must remain
// text, because bytes never equal a text.
func (d *database) value(target newmail.Target, all []newmail.Column) (value string, possible bool) {
	value = "?"
	if target.Kind == newmail.Zero {
		value = "0"
	}
	if !d.strict {
		return value, true
	}
	i := slices.IndexFunc(all, func(c newmail.Column) bool { return c.Name == target.Name })
	switch kind := all[i].Type; {
	case kind == "any":
		return value, true
	case kind == "text" || kind == "blob":
		return "CAST(" + value + " AS " + kind + ")", kind == "text" || !strings.EqualFold(target.Name, "hash")
	}
	return value, target.Kind == newmail.Number || target.Kind == newmail.Zero
}

// readColumns returns the columns of the table that an INSERT can set, or none if the
// table is missing. A column with the type INTEGER that is the whole primary key gets a
// value from SQLite, unless the table is WITHOUT ROWID.
func (d *database) readColumns(ctx context.Context, table string) ([]newmail.Column, error) {
	rows, err := d.conn.QueryContext(ctx, `SELECT c.name, c.type,
		c."notnull" AND c.dflt_value IS NULL AND (t.wr OR NOT pk OR upper(c.type)<>'INTEGER' OR (SELECT count(*) FROM pragma_table_info(t.name) WHERE pk)>1),
		t.strict, t.type='view'
		FROM pragma_table_list AS t, pragma_table_info(t.name) AS c WHERE t.schema='main' AND t.name=? COLLATE NOCASE`, table)
	if err != nil {
		return nil, fmt.Errorf("read the columns: %w", err)
	}
	defer rows.Close()
	var columns []newmail.Column
	for rows.Next() {
		var c newmail.Column
		if err := rows.Scan(&c.Name, &c.Type, &c.Required, &d.strict, &d.view); err != nil {
			return nil, fmt.Errorf("read the columns: %w", err)
		}
		c.Type = strings.ToLower(strings.ReplaceAll(c.Type, " ", ""))
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
