package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"goguerrillad/internal/rootpath"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// A Reader reads a file that a daemon may be writing to.
type Reader struct {
	db    *sql.DB
	table string
}

// NewReader opens the file read-only and creates nothing, not even a WAL.
func NewReader(o Options) (*Reader, error) {
	// SQLite's WAL is in the directory of the file, not of a symbolic link to it.
	path, err := rootpath.Path(o.File)
	if err == nil {
		err = checkAllRegular(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the SQLite file: %w", err)
	}
	query := "mode=ro"
	if _, err := os.Lstat(path + "-wal"); errors.Is(err, fs.ErrNotExist) {
		// No program has the file open. Unless the file is immutable, SQLite
		// creates a WAL even to read.
		query = "mode=ro&immutable=1"
	}
	connector, err := newConnector(path, query)
	if err == nil {
		connector, err = verify(path, connector)
	}
	if err != nil {
		return nil, fmt.Errorf("open the SQLite file: %w", err)
	}
	return &Reader{db: newDB(connector), table: o.Table}, nil
}

// List returns the newest messages that pass the filter, newest first.
func (r *Reader) List(ctx context.Context, f savemail.Filter) ([]savemail.Listed, error) {
	has, err := r.columns(ctx)
	if err != nil {
		return nil, err
	}
	// Another program may have written values of any size, so List cuts them.
	const shown = 10_000 // characters
	text := func(columns ...string) string { return fmt.Sprintf("substr(%s,1,%d),", has.Text(columns...), shown) }
	where, args := has.Where(f, "?", f.Since.UTC().Format(dateLayout))
	order := has.Column("mail_id", "date", "rowid") + " DESC"
	if !f.Since.IsZero() { // otherwise SQLite would not use the index on date
		order = has.Column("date") + " DESC," + order
	}
	rows, err := r.db.QueryContext(ctx, "SELECT "+text("hash")+text("from", "return_path")+text("recipient", "to")+text("subject")+text("date")+
		"octet_length("+has.Text("mail")+") FROM "+quote(r.table)+where+" ORDER BY "+order+" LIMIT ?", append(args, f.N)...)
	if err != nil {
		return nil, fmt.Errorf("read the table: %w", err)
	}
	defer rows.Close()
	var list []savemail.Listed
	for rows.Next() {
		var m savemail.Listed
		var date string
		if err := rows.Scan(&m.Hash, &m.From, &m.To, &m.Subject, &date, &m.Size); err != nil {
			return nil, fmt.Errorf("read a row: %w", err)
		}
		// If another program has written a date in another format, m.Date is zero.
		m.Date, _ = time.Parse(dateLayout, date)
		list = append(list, m)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the table: %w", err)
	}
	return list, nil
}

// Hashes returns up to n different hashes that begin with the prefix.
func (r *Reader) Hashes(ctx context.Context, prefix string, n int) ([]string, error) {
	// A range, for which SQLite uses the index: g follows the hexadecimal digits.
	return newmail.Hashes(r.db.QueryContext(ctx, `SELECT DISTINCT "hash" FROM `+quote(r.table)+` WHERE "hash">=? AND "hash"<? LIMIT ?`, prefix, prefix+"g", n))
}

// columns returns the table's columns, and rowid unless the table is WITHOUT ROWID.
func (r *Reader) columns(ctx context.Context) (newmail.Selection, error) {
	has := newmail.Selection{Quote: quote}
	rows, err := r.db.QueryContext(ctx, "SELECT name FROM pragma_table_xinfo(?1)"+
		" UNION ALL SELECT 'rowid' FROM pragma_table_list WHERE schema='main' AND name=?1 COLLATE NOCASE AND type='table' AND wr=0", r.table)
	if err != nil {
		return has, fmt.Errorf("read the columns: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return has, fmt.Errorf("read the columns: %w", err)
		}
		has.Names = append(has.Names, name)
	}
	if err := rows.Err(); err != nil {
		return has, fmt.Errorf("read the columns: %w", err)
	}
	return has, nil
}

// Show returns the message with this hash, or savemail.ErrNotFound.
func (r *Reader) Show(ctx context.Context, hash string) ([]byte, error) {
	has, err := r.columns(ctx)
	if err != nil {
		return nil, err
	}
	var body string
	var message []byte
	err = r.db.QueryRowContext(ctx, "SELECT "+has.Text("body")+","+has.Column("mail")+" FROM "+quote(r.table)+
		` WHERE "hash"=? ORDER BY `+has.Column("mail_id", "date", "rowid")+" DESC LIMIT 1", hash).Scan(&body, &message)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, savemail.ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("read the table: %w", err)
	}
	return newmail.Expand(body, message)
}

// Close closes the file.
func (r *Reader) Close() error { return r.db.Close() }
