package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
)

// Bounds of one statement. A transaction may have several.
const (
	maxRows  = 50
	maxBytes = 1 << 20 // of all messages, unless a single row has more
)

// maxAttempts bounds the attempts to commit a batch. A batch is sent again only if it is
// certain that it was not committed.
const maxAttempts = 4

// A batchRow is one row of a batch.
type batchRow struct {
	*newmail.Row
	envelope *envelope.Envelope
	i        int // index of the recipient
}

// save returns an error for each envelope that does not fit, and the outcome of the other
// envelopes.
func (s *Store) save(ctx context.Context, batch []*envelope.Envelope) (errs []error, outcome error) {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	// The last third of the time is for settling an unknown outcome.
	sending, stop := context.WithDeadline(ctx, deadline.Add(-time.Until(deadline)/3))
	defer stop()
	printable := false
	for attempt := 1; ; attempt++ {
		c, err := s.acquire(sending)
		if err != nil {
			return nil, err
		}
		var rows []batchRow
		var xid string
		class := unavailable
		if err = c.refreshColumns(sending, s); err == nil {
			if rows, errs = makeRows(c.columns, batch, s.options.Compress, printable); len(rows) == 0 {
				s.finishUse(c, nil)
				return errs, nil
			}
			xid, class, err = c.commit(sending, s, rows)
		}
		if class == unknown {
			s.finishUse(c, err) // before the server is asked
			s.discardIdle()
			class, err = s.settle(ctx, c.server, xid, hashes(rows), err)
		} else if class == rejected || class == conflict {
			s.finishUse(c, nil)
		} else {
			s.finishUse(c, err)
		}
		switch class {
		case committed:
			return errs, nil
		case unknown:
			return errs, fmt.Errorf("%w: %w", savemail.ErrUnknown, oneLine{err})
		case rejected:
			if printable || len(batch) > 1 || !isDataError(err) {
				return errs, fmt.Errorf("%w: %w", savemail.ErrRejected, err)
			}
			// If the sender repeated the message, it would have the same values.
			s.options.Log.Warn("value rejected, storing the message with ASCII values", "hashes", batch[0].To[0].Hash, "error", err)
			printable = true
		case lost:
			s.discardIdle()
		}
		if attempt == maxAttempts || class == unavailable || sending.Err() != nil {
			return errs, fmt.Errorf("%w: %w", savemail.ErrUnavailable, oneLine{err})
		}
	}
}

// refreshColumns reads the columns if they are old.
func (c *conn) refreshColumns(ctx context.Context, s *Store) error {
	if time.Since(c.columns.read) < columnsMaxAge {
		return nil
	}
	return c.readColumns(ctx, s)
}

// makeRows returns the rows of a batch, and an error for each envelope that does not fit.
func makeRows(c *columns, batch []*envelope.Envelope, compress, printable bool) (rows []batchRow, errs []error) {
	fitted := c.Columns
	if printable {
		fitted = c.Printable()
	}
	errs = make([]error, len(batch))
	for i, e := range batch {
		row, err := fitted.Row(e, compress)
		if err != nil {
			errs[i] = err
			continue
		}
		for j := range e.To {
			rows = append(rows, batchRow{row, e, j})
		}
	}
	return rows, errs
}

func hashes(rows []batchRow) []string {
	list := make([]string, len(rows))
	for i, r := range rows {
		list[i] = r.envelope.To[r.i].Hash
	}
	return list
}

// commit inserts the rows and commits them in a transaction of two round trips, so that the
// id of the transaction is known before its COMMIT is sent. Before that nothing can be
// stored.
func (c *conn) commit(ctx context.Context, s *Store, rows []batchRow) (xid string, class errorClass, err error) {
	inserting, cancel := context.WithTimeout(ctx, s.replyTimeout())
	defer cancel()
	if xid, err = c.insert(inserting, s, rows); err != nil {
		class = classify(err)
		if class != lost {
			if _, err := c.Exec(ctx, "ROLLBACK"); err != nil {
				return "", lost, err
			}
		}
		return "", c.recheckColumns(ctx, s, class, err), err
	}
	c.warnings = 0
	committing, cancel := context.WithTimeout(ctx, s.replyTimeout())
	defer cancel()
	results, err := c.PgConn().Exec(committing, "COMMIT").ReadAll()
	switch {
	case err != nil:
		err = fmt.Errorf("commit: %w", err)
		class = classify(err)
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.SeverityUnlocalized == "ERROR" && class != lost {
			return xid, c.recheckColumns(ctx, s, class, err), err // the server has rolled back
		}
		return xid, unknown, err
	case len(results) != 1 || results[0].CommandTag.String() != "COMMIT":
		return xid, unavailable, errors.New("commit: the server has rolled back")
	case c.warnings > 0:
		// A commit whose wait for a synchronous standby was canceled succeeds with a warning.
		return xid, unknown, fmt.Errorf("commit: %w", errNotReplicated)
	}
	return xid, committed, nil
}

var errNotReplicated = errors.New("the server has not waited for its standby")

// insert begins a transaction and inserts the rows. It returns the id of the transaction.
func (c *conn) insert(ctx context.Context, s *Store, rows []batchRow) (xid string, err error) {
	statements := splitRows(rows)
	if err := c.prepare(ctx, s.table, statements); err != nil {
		return "", err
	}
	c.arena = c.arena[:0]
	p := c.PgConn().StartPipeline(ctx)
	p.SendQueryParams("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", nil, nil, nil, nil)
	for _, setting := range c.settings {
		p.SendQueryParams(setting, nil, nil, nil, nil)
	}
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
	for range 1 + len(c.settings) + len(statements) {
		if err != nil {
			break
		}
		err = readRow(p, &xid)
	}
	if err == nil && c.pooled {
		err = readRow(p, &c.server.system, &c.server.timeline, &c.server.start)
	}
	if closeErr := p.Close(); err == nil {
		err = closeErr
	}
	if cap(c.arena) > 2*maxBytes {
		c.arena = nil // a large message has enlarged it
	}
	if err != nil {
		return "", fmt.Errorf("insert: %w", err)
	}
	return xid, nil
}

// readRow reads the next result of a pipeline, and the columns of its last row if it has one.
func readRow(p *pgconn.Pipeline, columns ...*string) error {
	next, err := p.GetResults()
	if err != nil {
		return err
	}
	reader, ok := next.(*pgconn.ResultReader)
	if !ok {
		return fmt.Errorf("the server sent a %T in place of a result", next)
	}
	for reader.NextRow() {
		for i, column := range columns {
			*column = string(reader.Values()[i])
		}
	}
	_, err = reader.Close()
	return err
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

// recheckColumns returns the class of an error after a rollback. If an old version of the
// columns may be the cause, it reads them again, and returns conflict if they have changed.
func (c *conn) recheckColumns(ctx context.Context, s *Store, class errorClass, cause error) errorClass {
	if class != mismatched {
		return class
	}
	old := c.columns.Columns
	if err := c.readColumns(ctx, s); err != nil {
		return unavailable
	}
	if !c.columns.Equal(old) {
		return conflict
	}
	if isDataError(cause) {
		return rejected
	}
	return unavailable
}
