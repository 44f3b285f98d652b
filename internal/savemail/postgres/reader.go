package postgres

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/stdlib"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// A Reader reads messages from the table.
type Reader struct {
	db    *sql.DB
	table table
}

// NewReader returns a Reader, which connects at the first call of List or Show, also to a
// standby. An error means that the options are invalid.
func NewReader(o Options) (*Reader, error) {
	config, err := parseDSN(o)
	if err != nil {
		return nil, fmt.Errorf("POSTGRES_DSN: %w", err)
	}
	config.ValidateConnect = nil
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(1)
	return &Reader{db, newTable(o.Table)}, nil
}

// List returns the newest messages that pass the filter, newest first.
func (r *Reader) List(ctx context.Context, f savemail.Filter) ([]savemail.Listed, error) {
	has, err := r.columns(ctx)
	if err != nil {
		return nil, err
	}
	where, args := has.Where(f, "?", f.Since)
	query := "SELECT " + text(has, "hash") + "," + text(has, "from", "return_path") + "," + text(has, "recipient", "to") + "," + text(has, "subject") + "," +
		has.Column("date") + "::timestamptz,COALESCE(octet_length(" + has.Column("mail") + "),0) FROM " + r.table.String() +
		where + " ORDER BY " + has.Column("mail_id", "date") + " DESC LIMIT ?"
	rows, err := r.db.QueryContext(ctx, numbered(query), append(args, f.N)...)
	if err != nil {
		return nil, fmt.Errorf("read the table: %w", oneLine{err})
	}
	defer rows.Close()
	var list []savemail.Listed
	for rows.Next() {
		var m savemail.Listed
		var date sql.NullTime
		if err := rows.Scan(&m.Hash, &m.From, &m.To, &m.Subject, &date, &m.Size); err != nil {
			return nil, fmt.Errorf("read a row: %w", err)
		}
		m.Date = date.Time.UTC()
		list = append(list, m)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the table: %w", err)
	}
	return list, nil
}

// text returns a column as text, an empty text for NULL.
func text(has newmail.Selection, columns ...string) string {
	return "COALESCE(" + has.Column(columns...) + "::text,'')"
}

// Hashes returns up to n different hashes that begin with the prefix.
func (r *Reader) Hashes(ctx context.Context, prefix string, n int) ([]string, error) {
	// A range, for which the server uses the index in any collation: g follows the digits.
	return newmail.Hashes(r.db.QueryContext(ctx, "SELECT DISTINCT hash::text FROM "+r.table.String()+" WHERE hash>=$1 AND hash<$2 AND hash::text LIKE $3 LIMIT $4",
		prefix, prefix+"g", prefix+"%", n))
}

// columns returns the table's columns.
func (r *Reader) columns(ctx context.Context) (newmail.Selection, error) {
	has := newmail.Selection{Quote: quote}
	rows, err := r.db.QueryContext(ctx, "SELECT attname FROM pg_attribute WHERE attrelid=to_regclass($1::text) AND attnum>0 AND NOT attisdropped", r.table.String())
	if err != nil {
		return has, fmt.Errorf("read the columns of %s: %w", r.table, oneLine{err})
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return has, fmt.Errorf("read the columns of %s: %w", r.table, err)
		}
		has.Names = append(has.Names, name)
	}
	if err := rows.Err(); err != nil {
		return has, fmt.Errorf("read the columns of %s: %w", r.table, err)
	}
	if len(has.Names) == 0 {
		return has, fmt.Errorf("read the columns of %s: %w", r.table, errNoTable)
	}
	return has, nil
}

// Show returns the message with this hash, decompressed, or savemail.ErrNotFound.
func (r *Reader) Show(ctx context.Context, hash string) ([]byte, error) {
	has, err := r.columns(ctx)
	if err != nil {
		return nil, err
	}
	var body, digits string
	// pgx reads a bytea only if bytea_output is hex.
	err = r.db.QueryRowContext(ctx, "SELECT "+text(has, "body")+",COALESCE(encode("+has.Column("mail")+",'hex'),'') FROM "+r.table.String()+
		" WHERE hash=$1 ORDER BY "+has.Column("mail_id", "date")+" DESC LIMIT 1", hash).Scan(&body, &digits)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, savemail.ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("read the table: %w", oneLine{err})
	}
	mail, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("read the message: %w", err)
	}
	return newmail.Expand(body, mail)
}

// Close closes the connection.
func (r *Reader) Close() error { return r.db.Close() }

// numbered replaces each ? of a statement without strings by $1, $2 and so on.
func numbered(statement string) string {
	var b strings.Builder
	n := 0
	for _, part := range strings.SplitAfter(statement, "?") {
		before, parameter := strings.CutSuffix(part, "?")
		b.WriteString(before)
		if parameter {
			n++
			b.WriteString("$" + strconv.Itoa(n))
		}
	}
	return b.String()
}
