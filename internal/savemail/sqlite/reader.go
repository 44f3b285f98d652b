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

// List returns the n newest messages, newest first.
func (r *Reader) List(ctx context.Context, n int) ([]savemail.Listed, error) {
	// Another program may have written values of any size, so List cuts them.
	const shown = 10_000 // characters
	rows, err := r.db.QueryContext(ctx, fmt.Sprintf(`SELECT substr("hash",1,%[1]d),substr("from",1,%[1]d),substr("to",1,%[1]d),substr("subject",1,%[1]d),`+
		`substr("date",1,%[1]d),octet_length("mail") FROM `, shown)+
		quote(r.table)+` ORDER BY "mail_id" DESC LIMIT ?`, n)
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

// Show returns the message with this hash, or savemail.ErrNotFound.
func (r *Reader) Show(ctx context.Context, hash string) ([]byte, error) {
	var body string
	var message []byte
	err := r.db.QueryRowContext(ctx, `SELECT "body","mail" FROM `+quote(r.table)+` WHERE "hash"=? ORDER BY "mail_id" DESC LIMIT 1`, hash).
		Scan(&body, &message)
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
