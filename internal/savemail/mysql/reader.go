package mysql

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// A Reader reads messages from the table.
type Reader struct{ store *Store }

// NewReader returns a Reader, which connects at each call of List or Show. An
// error means that the options are invalid.
func NewReader(o Options) (*Reader, error) {
	s, err := New(o)
	if err != nil {
		return nil, err
	}
	return &Reader{s}, nil
}

// connect returns a connection to the first host that can be reached.
func (r *Reader) connect(ctx context.Context) (*sql.Conn, error) {
	var errs []error
	for _, h := range r.store.hosts {
		c, err := h.db.Conn(ctx)
		if err == nil {
			return c, nil
		}
		errs = append(errs, fmt.Errorf("connect to %s: %w", h.name, err))
	}
	return nil, errors.Join(errs...)
}

// List returns the newest messages that pass the filter, newest first.
func (r *Reader) List(ctx context.Context, f savemail.Filter) ([]savemail.Listed, error) {
	c, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	has, err := r.columns(ctx, c)
	if err != nil {
		return nil, err
	}
	where, args := has.Where(f, "FROM_UNIXTIME(?)", max(f.Since.Unix(), 0)) // NULL for a time before 1970
	rows, err := c.QueryContext(ctx, "SELECT "+has.Text("hash")+","+has.Text("from", "return_path")+","+has.Text("recipient", "to")+","+
		has.Text("subject")+",IFNULL(UNIX_TIMESTAMP("+has.Column("date")+"),0),LENGTH("+has.Text("mail")+") FROM "+r.store.table.String()+
		where+" ORDER BY "+has.Column("mail_id", "date")+" DESC LIMIT ?", append(args, f.N)...)
	if err != nil {
		return nil, fmt.Errorf("read the table: %w", err)
	}
	defer rows.Close()
	var list []savemail.Listed
	for rows.Next() {
		var m savemail.Listed
		var date float64 // with a fraction if the column has one
		if err := rows.Scan(&m.Hash, &m.From, &m.To, &m.Subject, &date, &m.Size); err != nil {
			return nil, fmt.Errorf("read a row: %w", err)
		}
		if date != 0 {
			m.Date = time.Unix(int64(date), 0).UTC()
		}
		list = append(list, m)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the table: %w", err)
	}
	return list, nil
}

// Hashes returns up to n different hashes that begin with the prefix.
func (r *Reader) Hashes(ctx context.Context, prefix string, n int) ([]string, error) {
	c, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return newmail.Hashes(c.QueryContext(ctx, "SELECT DISTINCT `hash` FROM "+r.store.table.String()+" WHERE `hash` LIKE ? LIMIT ?", prefix+"%", n))
}

// columns returns the table's columns.
func (r *Reader) columns(ctx context.Context, c *sql.Conn) (newmail.Selection, error) {
	has := newmail.Selection{Quote: quote}
	rows, err := c.QueryContext(ctx, "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE "+r.store.table.condition())
	if err == nil {
		defer rows.Close()
		for rows.Next() {
			var name string
			err = cmp.Or(err, rows.Scan(&name))
			has.Names = append(has.Names, name)
		}
		err = cmp.Or(err, rows.Err())
	}
	if err == nil && len(has.Names) == 0 {
		err = errNoTable
	}
	if err != nil {
		return has, fmt.Errorf("read the columns of %s: %w", r.store.table, err)
	}
	return has, nil
}

// Show returns the message with this hash, decompressed, or
// savemail.ErrNotFound.
func (r *Reader) Show(ctx context.Context, hash string) ([]byte, error) {
	c, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	has, err := r.columns(ctx, c)
	if err != nil {
		return nil, err
	}
	column, err := r.mailColumn(ctx, c)
	if err != nil {
		return nil, err
	}
	var body string
	var mail []byte
	err = c.QueryRowContext(ctx, "SELECT "+has.Text("body")+","+column+" FROM "+r.store.table.String()+
		" WHERE `hash`=? ORDER BY "+has.Column("mail_id", "date")+" DESC LIMIT 1", hash).Scan(&body, &mail)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, savemail.ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("read the table: %w", err)
	}
	return newmail.Expand(body, mail)
}

// mailColumn returns the expression that reads the column mail. A text column
// whose set has a character for every byte contains the unchanged bytes of the
// message. CAST prevents their conversion to UTF-8.
func (r *Reader) mailColumn(ctx context.Context, c *sql.Conn) (column string, err error) {
	var columns int // 1 if the column mail contains bytes
	err = c.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.COLUMNS JOIN information_schema.CHARACTER_SETS USING (CHARACTER_SET_NAME)"+
		" WHERE "+r.store.table.condition()+" AND COLUMN_NAME='mail' AND MAXLEN=1 AND CHARACTER_SET_NAME<>'ascii'").Scan(&columns)
	if err != nil {
		return "", fmt.Errorf("read the column mail: %w", err)
	}
	if columns > 0 {
		return "CAST(`mail` AS BINARY)", nil
	}
	return "`mail`", nil
}

// Close closes the connections.
func (r *Reader) Close() error { return r.store.Close() }
