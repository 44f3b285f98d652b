package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"goguerrillad/internal/savemail/newmail"
)

// Bounds of one statement. A transaction may have several.
const (
	maxRows  = 50
	maxBytes = 1 << 20 // of all messages, unless a single row has more
)

// insert begins a transaction and inserts the rows. It returns the id of the transaction.
func (c *conn) insert(ctx context.Context, s *Store, rows []batchRow) (xid string, err error) {
	statements := splitRows(rows)
	if err := c.prepare(ctx, s.table, statements); err != nil {
		return "", err
	}
	c.arena = c.arena[:0]
	p := c.PgConn().StartPipeline(ctx)
	p.SendQueryParams("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", nil, nil, nil, nil)
	for _, rows := range statements {
		c.bind(s, rows)
		if name, prepared := c.inserts[len(rows)]; prepared {
			p.SendQueryPrepared(name, c.values, c.formats, nil)
		} else {
			p.SendQueryParams(s.table.insertStatement(c.columns, len(rows)), c.values, nil, c.formats, nil)
		}
		clear(c.values)
	}
	if c.pooled { // the pooler may have changed the server since the last transaction
		p.SendQueryParams("SELECT "+identity, nil, nil, nil, nil)
	}
	err = p.Sync()
	inserted := 0
	for range 1 + len(statements) {
		if err != nil {
			break
		}
		var n int
		n, err = readRows(p, &xid)
		inserted += n
	}
	if err == nil && c.pooled {
		_, err = readRows(p, &c.server.system, &c.server.timeline, &c.server.start)
	}
	if closeErr := p.Close(); err == nil {
		err = closeErr
	}
	if cap(c.arena) > 2*maxBytes {
		c.arena = nil // a large message has enlarged it
	}
	if err == nil && inserted < len(rows) {
		err = errSkipped
	}
	if err != nil {
		return "", fmt.Errorf("insert: %w", err)
	}
	return xid, nil
}

// errSkipped means that a BEFORE trigger has returned NULL, so the server has not stored a row.
var errSkipped = errors.New("a trigger of the table has skipped a row")

// readRows reads the next result of a pipeline. It returns the number of rows, and sets columns
// to those of the last row.
func readRows(p *pgconn.Pipeline, columns ...*string) (n int, err error) {
	next, err := p.GetResults()
	if err != nil {
		return 0, err
	}
	reader, ok := next.(*pgconn.ResultReader)
	if !ok {
		return 0, fmt.Errorf("the server sent a %T in place of a result", next)
	}
	for ; reader.NextRow(); n++ {
		for i, column := range columns {
			*column = string(reader.Values()[i])
		}
	}
	_, err = reader.Close()
	return n, err
}

// splitRows divides the rows among as few statements as the bounds allow.
func splitRows(rows []batchRow) (statements [][]batchRow) {
	for len(rows) > 0 {
		n, size := 1, rows[0].envelope.Size()
		for n < min(len(rows), maxRows) && size+rows[n].envelope.Size() <= maxBytes {
			size += rows[n].envelope.Size()
			n++
		}
		statements = append(statements, rows[:n])
		rows = rows[n:]
	}
	return statements
}

// prepare prepares the INSERTs, unless another session may run them.
func (c *conn) prepare(ctx context.Context, t table, statements [][]batchRow) error {
	for _, rows := range statements {
		if _, prepared := c.inserts[len(rows)]; prepared || c.pooled {
			continue
		}
		name := "insert" + strconv.Itoa(len(rows))
		if _, err := c.PgConn().Prepare(ctx, name, t.insertStatement(c.columns, len(rows)), nil); err != nil {
			return fmt.Errorf("prepare an INSERT: %w", err)
		}
		c.inserts[len(rows)] = name
	}
	return nil
}

// bind sets c.values and c.formats to the values of the rows. Of several rows of an envelope,
// all but the last use a copy in the arena, since Envelope.Blob invalidates its previous
// result. The pipeline copies the values.
func (c *conn) bind(s *Store, rows []batchRow) {
	c.values, c.formats = c.values[:0], c.formats[:0]
	var args []any
	for n, r := range rows {
		start := len(c.arena)
		to := &r.envelope.To[r.i]
		var mail []byte
		switch {
		case r.InRedis(to):
		case r.Compressed:
			c.arena = s.compressor.Append(c.arena, r.envelope.Blob(r.i))
			mail = c.arena[start:]
		case n+1 < len(rows) && rows[n+1].envelope == r.envelope:
			c.arena = r.envelope.AppendBlob(c.arena, r.i)
			mail = c.arena[start:]
		default:
			mail = r.envelope.Blob(r.i)
		}
		args = r.Append(args[:0], nil, to, mail)
		i := 0
		for _, target := range c.columns.Targets() {
			if target.Kind == newmail.Clock || target.Kind == newmail.Zero {
				continue
			}
			c.bindValue(target.Name, args[i])
			i++
		}
	}
}

// bindValue appends a value as text, or as bytes. Text has no NUL in PostgreSQL.
func (c *conn) bindValue(column string, value any) {
	var v []byte
	format := int16(0)
	switch value := value.(type) {
	case []byte:
		v, format = value, 1
	case int:
		v = strconv.AppendInt(nil, int64(value), 10)
	case string:
		v = []byte(value)
		if bytes.IndexByte(v, 0) >= 0 {
			v = bytes.ReplaceAll(v, []byte{0}, []byte{'?'})
		}
		if nullable, inet := c.columns.nullable[column]; inet && len(v) == 0 {
			if v = nil; !nullable {
				v = []byte("0.0.0.0") // the address is unknown
			}
		}
	}
	c.values, c.formats = append(c.values, v), append(c.formats, format)
}
