package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// Bounds of one statement.
const (
	maxRows      = 50      // more are slower
	maxBytes     = 1 << 19 // of values together, unless one row alone has more
	rowOverhead  = 2048    // of a row in the packet beside mail, sender, subject and attachments, at most
	packetMargin = 1024    // of a packet that are left free
)

// A mailRow is one row of a batch.
type mailRow struct {
	*newmail.Row
	envelope *envelope.Envelope
	i        int   // of the recipient
	size     int64 // bytes in the packet, at most
}

// rows makes the rows of a batch, and an error for each envelope that cannot
// be stored.
func (s *Store) rows(c *conn, columns *newmail.Columns, batch []*envelope.Envelope) (rows []mailRow, errs []error) {
	errs = make([]error, len(batch))
	compress := s.compresses(columns)
	for i, e := range batch {
		row, err := columns.Row(e, compress)
		mail := int64(e.Size() + e.HeadRoom())
		if compress {
			mail += mail>>10 + 64 // should it not be compressible
		} else if err == nil && !allInRedis(e) {
			err = c.takes(columns, mail)
		}
		if err != nil {
			errs[i] = err
			continue
		}
		rest := rowOverhead + int64(len(row.From)+len(row.Subject)+len(row.AttachInfo))
		for j, to := range e.To {
			size := rest
			if !to.InRedis {
				size += mail
			}
			rows = append(rows, mailRow{&row, e, j, size})
		}
	}
	return rows, errs
}

// compresses reports whether messages are compressed. A column of text would
// not keep what zlib writes.
func (s *Store) compresses(columns *newmail.Columns) bool {
	return s.options.Compress && !columns.MailIsText()
}

func allInRedis(e *envelope.Envelope) bool {
	return !slices.ContainsFunc(e.To, func(to envelope.Recipient) bool { return !to.InRedis })
}

// takes checks a mail's size in the column: the server would say no, or in
// another sql_mode cut it.
func (c *conn) takes(columns *newmail.Columns, size int64) error {
	if size+packetMargin > c.packet {
		return fmt.Errorf("%w: %d bytes are too many for max_allowed_packet of %s, which is %d",
			savemail.ErrRejected, size, c.host, c.packet)
	}
	return columns.CheckMail(size)
}

// statements cuts rows into what one statement each may hold.
func (c *conn) statements(rows []mailRow) [][]mailRow {
	limit := min(maxBytes, c.packet-packetMargin)
	var cut [][]mailRow
	for len(rows) > 0 {
		n, size := 1, rows[0].size
		for n < min(len(rows), maxRows) && size+rows[n].size <= limit {
			size += rows[n].size
			n++
		}
		cut = append(cut, rows[:n])
		rows = rows[n:]
	}
	return cut
}

// commit sends the statements: one alone in autocommit, several as a
// transaction. It returns the first error and where it came up; the
// transaction is then still open.
func (c *conn) commit(ctx context.Context, s *Store, columns *newmail.Columns, statements [][]mailRow) (phase, error) {
	if err := ctx.Err(); err != nil {
		return before, err
	}
	if len(statements) == 1 {
		return c.insert(ctx, s, columns, statements[0])
	}
	if _, err := c.ExecContext(ctx, "BEGIN"); err != nil {
		return before, err
	}
	for _, rows := range statements {
		if _, err := c.insert(ctx, s, columns, rows); err != nil {
			return before, err // the COMMIT decides, and is not sent
		}
	}
	_, err := c.ExecContext(ctx, "COMMIT")
	return inCommit, err
}

func (c *conn) insert(ctx context.Context, s *Store, columns *newmail.Columns, rows []mailRow) (phase, error) {
	statement, err := c.prepared(ctx, s, columns, len(rows))
	if err != nil {
		return before, err
	}
	if err := c.bind(s, columns, rows); err != nil {
		return before, err
	}
	_, err = statement.ExecContext(ctx, c.args...)
	clear(c.args)
	if cap(c.arena) > 2*maxBytes {
		c.arena = nil // one large compressed mail
	}
	return inInsert, err
}

// prepared returns the INSERT of the given number of rows. Its text depends on the columns.
func (c *conn) prepared(ctx context.Context, s *Store, columns *newmail.Columns, rows int) (*sql.Stmt, error) {
	if c.columns != columns {
		for _, statement := range c.inserts {
			if err := statement.Close(); err != nil {
				return nil, err
			}
		}
		clear(c.inserts)
		c.columns = columns
	}
	statement := c.inserts[rows]
	if statement == nil {
		var err error
		if statement, err = c.PrepareContext(ctx, s.table.insert(columns, rows)); err != nil {
			return nil, err
		}
		c.inserts[rows] = statement
	}
	return statement, nil
}

// bind sets c.args to the rows' values. A mail is used where it lies; only an
// envelope with several rows in the statement has all but its last copied, and
// what is compressed is written to the arena anyway.
func (c *conn) bind(s *Store, columns *newmail.Columns, rows []mailRow) error {
	compress := s.compresses(columns)
	c.args, c.arena = c.args[:0], c.arena[:0]
	for n, r := range rows {
		start := len(c.arena)
		to, body := &r.envelope.To[r.i], r.Body
		var mail []byte
		switch {
		case to.InRedis:
			body, mail = newmail.BodyRedis, []byte{} // nil would be NULL
		case compress:
			c.arena = s.compressor.Append(c.arena, r.envelope.Blob(r.i))
			mail = c.arena[start:]
			if err := c.takes(columns, int64(len(mail))); err != nil {
				return err
			}
		case n+1 < len(rows) && rows[n+1].envelope == r.envelope:
			c.arena = r.envelope.AppendBlob(c.arena, r.i)
			mail = c.arena[start:]
		default:
			mail = r.envelope.Blob(r.i)
		}
		if columns.MailIsText() {
			mail = columns.MailText(mail)
		}
		c.args = append(c.args, r.From, to.Address, r.Subject, body, r.Charset, mail, to.Hash,
			r.ContentType, to.Address, r.HasAttach, r.IP, r.AttachInfo)
	}
	return nil
}
