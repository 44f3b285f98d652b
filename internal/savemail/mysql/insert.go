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
	maxRows      = 50      // a statement with more rows is slower
	maxBytes     = 1 << 19 // of all values, unless a single row has more
	rowOverhead  = 2048    // largest size in bytes of a recipient's own values except mail, and of the numbers
	packetMargin = 1024    // bytes of max_allowed_packet that stay unused
)

// A batchRow is one row of a batch.
type batchRow struct {
	*newmail.Row
	envelope *envelope.Envelope
	i        int   // index of the recipient
	size     int64 // upper bound of the row's bytes in the packet
}

// makeRows returns the rows of a batch, and an error for each envelope that does
// not fit.
func (s *Store) makeRows(c *conn, columns *newmail.Columns, batch []*envelope.Envelope) (rows []batchRow, errs []error) {
	errs = make([]error, len(batch))
	for i, e := range batch {
		row, err := columns.Row(e, s.options.Compress)
		if err != nil {
			errs[i] = err
			continue
		}
		mail := int64(e.Size() + e.HeadRoom())
		if row.Compressed {
			mail += mail>>10 + 64 // zlib's overhead for incompressible data
		} else if !allInRedis(row, e) {
			if errs[i] = c.checkSize(columns, mail); errs[i] != nil {
				continue
			}
		}
		rest := rowOverhead + int64(row.Size())
		for j := range e.To {
			size := rest
			if !row.InRedis(&e.To[j]) {
				size += mail
			}
			rows = append(rows, batchRow{row, e, j, size})
		}
	}
	return rows, errs
}

func allInRedis(row *newmail.Row, e *envelope.Envelope) bool {
	return !slices.ContainsFunc(e.To, func(to envelope.Recipient) bool { return !row.InRedis(&to) })
}

// checkSize returns an error for a message that is too large for a packet or for
// the column mail.
func (c *conn) checkSize(columns *newmail.Columns, size int64) error {
	if size+packetMargin > c.maxPacket {
		return fmt.Errorf("%w: %d bytes exceed max_allowed_packet of %s, which is %d",
			savemail.ErrRejected, size, c.host, c.maxPacket)
	}
	return columns.CheckMail(size)
}

// splitRows divides the rows among as few statements as the bounds allow.
func (c *conn) splitRows(rows []batchRow) [][]batchRow {
	limit := min(maxBytes, c.maxPacket-packetMargin)
	var statements [][]batchRow
	for len(rows) > 0 {
		n, size := 1, rows[0].size
		for n < min(len(rows), maxRows) && size+rows[n].size <= limit {
			size += rows[n].size
			n++
		}
		statements = append(statements, rows[:n])
		rows = rows[n:]
	}
	return statements
}

// commit sends one statement in autocommit mode, or several statements as a
// transaction, which may still be open after an error. It returns the first error
// and its phase.
func (c *conn) commit(ctx context.Context, s *Store, columns *newmail.Columns, statements [][]batchRow) (phase, error) {
	if err := ctx.Err(); err != nil {
		return beforeCommit, err
	}
	if len(statements) == 1 {
		return c.insertRows(ctx, s, columns, statements[0])
	}
	if _, err := c.ExecContext(ctx, "BEGIN"); err != nil {
		return beforeCommit, err
	}
	for _, rows := range statements {
		if _, err := c.insertRows(ctx, s, columns, rows); err != nil {
			return beforeCommit, err // no COMMIT is sent
		}
	}
	_, err := c.ExecContext(ctx, "COMMIT")
	return inCommit, err
}

func (c *conn) insertRows(ctx context.Context, s *Store, columns *newmail.Columns, rows []batchRow) (phase, error) {
	statement, err := c.prepareInsert(ctx, s, columns, len(rows))
	if err != nil {
		return beforeCommit, err
	}
	if err := c.bindRows(s, columns, rows); err != nil {
		return beforeCommit, err
	}
	_, err = statement.ExecContext(ctx, c.args...)
	clear(c.args)
	if cap(c.arena) > 2*maxBytes {
		c.arena = nil // a large compressed message has enlarged it
	}
	return inInsert, err
}

// prepareInsert returns the prepared INSERT for the given number of rows. If the
// columns have changed, it closes all statements prepared before.
func (c *conn) prepareInsert(ctx context.Context, s *Store, columns *newmail.Columns, rows int) (*sql.Stmt, error) {
	if c.insertColumns != columns {
		for _, statement := range c.inserts {
			if err := statement.Close(); err != nil {
				return nil, err
			}
		}
		clear(c.inserts)
		c.insertColumns = columns
	}
	statement := c.inserts[rows]
	if statement == nil {
		var err error
		if statement, err = c.PrepareContext(ctx, s.table.insertStatement(columns, rows)); err != nil {
			return nil, err
		}
		c.inserts[rows] = statement
	}
	return statement, nil
}

// bindRows sets c.args to the rows' values. A compressed message is in the arena.
// Of several rows of an envelope, all but the last use a copy in the arena, since
// Envelope.Blob invalidates its previous result.
func (c *conn) bindRows(s *Store, columns *newmail.Columns, rows []batchRow) error {
	c.args, c.arena = c.args[:0], c.arena[:0]
	for n, r := range rows {
		start := len(c.arena)
		to := &r.envelope.To[r.i]
		var mail []byte
		switch {
		case r.InRedis(to):
		case r.Compressed:
			c.arena = s.compressor.Append(c.arena, r.envelope.Blob(r.i))
			mail = c.arena[start:]
			if err := c.checkSize(columns, int64(len(mail))); err != nil {
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
		c.args = r.Append(c.args, nil, to, mail)
	}
	return nil
}
