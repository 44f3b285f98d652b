package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"goguerrillad/internal/savemail/newmail"
)

// A table is the name of a table.
type table struct{ schema, name string } // schema "" is searched in search_path

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

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// columns are the columns of the table at a time.
type columns struct {
	*newmail.Columns
	read     time.Time
	nullable map[string]bool // columns of the type inet, by name: they may be NULL
}

// columnsMaxAge is the age at which a Save reads the columns again. It matters for a widened
// column: a narrowed column causes an error, after which the columns are read immediately.
const columnsMaxAge = 5 * time.Second

var errNoTable = errors.New("the table does not exist, or is in no schema of search_path")

// readColumns reads the table's columns, and sets them for the connection and for Fits.
func (c *conn) readColumns(ctx context.Context, s *Store) error {
	all, inets, err := s.table.queryColumns(ctx, c.Conn)
	if err != nil {
		return fmt.Errorf("read the columns of %s: %w", s.table, err)
	}
	if len(all) == 0 {
		return fmt.Errorf("read the columns of %s: %w", s.table, errNoTable)
	}
	found, err := newmail.NewColumns(all)
	if err != nil {
		return fmt.Errorf("%s: %w", s.table, err)
	}
	if i := slices.IndexFunc(all, func(col newmail.Column) bool { return col.Name == "mail" }); i < 0 || all[i].Type != "bytea" {
		return fmt.Errorf("%s: %w: the column mail is not of the type bytea", s.table, newmail.ErrColumns)
	}
	if unfilled := found.Unfilled(); len(unfilled) > 0 {
		s.warnOnce("unfilled", "PostgreSQL table has columns that need a value", "columns", strings.Join(unfilled, ", "))
	}
	if c.columns != nil && found.Equal(c.columns.Columns) {
		found = c.columns.Columns // keeps the prepared statements
	} else if losses := strings.Join(found.Losses(), "; "); losses != "" {
		s.warnOnce("narrow: "+losses, "PostgreSQL table is too narrow for some values", "columns", losses)
	}
	now := &columns{found, time.Now(), inets}
	if c.columns == nil || c.columns.Columns != found {
		if err := c.deallocate(ctx); err != nil {
			return err
		}
	}
	c.columns = now
	s.columns.Store(now)
	return nil
}

// deallocate closes the prepared INSERTs.
func (c *conn) deallocate(ctx context.Context) error {
	for rows, name := range c.inserts {
		if err := c.PgConn().Deallocate(ctx, name); err != nil {
			return fmt.Errorf("close a prepared INSERT: %w", err)
		}
		delete(c.inserts, rows)
	}
	return nil
}

// queryColumns returns the columns of the table that an INSERT can set, and those of the type
// inet with whether they may be NULL. An identity column gets its value from the server. A domain
// has the type and the length of its base type.
func (t table) queryColumns(ctx context.Context, c *pgx.Conn) (all []newmail.Column, inets map[string]bool, err error) {
	rows, err := c.Query(ctx, `SELECT a.attname, format_type(coalesce(nullif(b.typbasetype, 0), a.atttypid), NULL), CASE b.typbasetype WHEN 0 THEN a.atttypmod ELSE b.typtypmod END,
		(a.attnotnull AND NOT a.atthasdef OR b.typnotnull AND NOT a.atthasdef AND b.typdefault IS NULL) AND a.attidentity = '', a.attnotnull OR b.typnotnull,
		pg_encoding_to_char(d.encoding) NOT IN ('UTF8', 'SQL_ASCII') AND b.typcategory = 'S'
		FROM pg_attribute a JOIN pg_type b ON b.oid = a.atttypid, pg_database d
		WHERE a.attrelid = to_regclass($1::text) AND a.attnum > 0 AND NOT a.attisdropped
		AND a.attgenerated = '' AND a.attidentity <> 'a' AND d.datname = current_database() ORDER BY a.attnum`, t.String())
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	asciiOnly := newmail.NewCharset("ASCII", 0, func(r rune) bool { return r < utf8.RuneSelf }, false)
	inets = map[string]bool{}
	for rows.Next() {
		var col newmail.Column
		var modifier int32
		var notNull, ascii bool
		if err := rows.Scan(&col.Name, &col.Type, &modifier, &col.Required, &notNull, &ascii); err != nil {
			return nil, nil, err
		}
		switch col.Type {
		case "character varying", "character":
			col.Chars = int64(max(modifier-4, 0)) // VARHDRSZ; without a modifier, no limit
		case "smallint":
			col.Max = 1<<15 - 1
		case "integer":
			col.Max = 1<<31 - 1
		case "boolean":
			col.Max = 1
		case "inet":
			inets[col.Name] = !notNull
		}
		if ascii { // another encoding lacks characters: only ASCII is certain
			col.Charset = asciiOnly
		}
		if col.Type = strings.ReplaceAll(col.Type, " ", ""); col.Type == "inet" {
			col.Type = "text" // of an address
		}
		all = append(all, col)
	}
	return all, inets, rows.Err()
}

// durableCommit makes the COMMIT of the transaction durable, and makes it show the warning of a
// commit that did not wait for its standby. It is a part of the transaction, since a reload of
// the server or a connection pooler may change the settings at any moment.
const durableCommit = `set_config('synchronous_commit',
	CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true),
	set_config('client_min_messages',
	CASE current_setting('client_min_messages') WHEN 'error' THEN 'warning' ELSE current_setting('client_min_messages') END, true)`

// insertStatement returns an INSERT for the given number of rows, which returns the id of
// its transaction for each of them.
func (t table) insertStatement(c *columns, rows int) string {
	var names []string
	var b strings.Builder
	for _, target := range c.Targets() {
		names = append(names, quote(target.Name))
	}
	fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES ", t, strings.Join(names, ","))
	n := 0
	for i := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, target := range c.Targets() {
			b.WriteByte("(,"[min(j, 1)])
			switch target.Kind {
			case newmail.Clock:
				b.WriteString("now()")
			case newmail.Zero:
				b.WriteByte('0')
			default:
				n++
				b.WriteByte('$')
				b.WriteString(strconv.Itoa(n))
			}
		}
		b.WriteByte(')')
	}
	b.WriteString(" RETURNING pg_current_xact_id(), " + durableCommit)
	return b.String()
}

// emptyInsert returns an INSERT without a row. RETURNING needs the right SELECT, as settling
// does, and fails if a rule replaces the INSERT.
func (t table) emptyInsert(c *columns) string {
	var names, values []string
	for _, target := range c.Targets() {
		names, values = append(names, quote(target.Name)), append(values, "NULL")
	}
	return fmt.Sprintf("INSERT INTO %s (%s) SELECT %s WHERE false RETURNING hash", t, strings.Join(names, ","), strings.Join(values, ","))
}

// withGrant adds to an error about a missing right the statement that grants the rights.
func (t table) withGrant(ctx context.Context, c *conn, err error) error {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || e.Code != errNoRight {
		return err
	}
	var user string
	if c.QueryRow(ctx, "SELECT quote_ident(current_user)").Scan(&user) != nil {
		return err
	}
	return fmt.Errorf("%w: want GRANT SELECT, INSERT ON %s TO %s", err, t, user)
}

// checkSequences returns an error if the user has no right on the sequence of a serial column.
// An INSERT without a row does not use it, and an identity column needs no right.
func (t table) checkSequences(ctx context.Context, c *conn) error {
	var sequence, user string
	err := c.QueryRow(ctx, `SELECT s, quote_ident(current_user) FROM pg_attribute a, pg_get_serial_sequence($1::text, a.attname) s
		WHERE a.attrelid = to_regclass($1::text) AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = '' AND NOT has_sequence_privilege(s, 'USAGE') LIMIT 1`,
		t.String()).Scan(&sequence, &user)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("read the sequences of %s: %w", t, err)
	}
	return fmt.Errorf("%w: no right on the sequence %s: want GRANT USAGE ON SEQUENCE %s TO %s", errUnsuitable, sequence, sequence, user)
}
