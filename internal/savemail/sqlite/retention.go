package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"goguerrillad/internal/savemail"
)

// A message that arrives while a piece of old messages is being deleted waits for the
// piece. A piece should take pieceTime at most.
const (
	pieceTime = time.Millisecond
	maxPiece  = 40 // rows
)

// A deletion is what deletes old messages.
type deletion struct {
	version      int64     // of the schema that the statements are for
	deleteOldest *sql.Stmt // nil if the messages of this schema cannot be deleted
	oldest       *sql.Stmt // reads the date of the oldest message
	piece        int       // rows of the next piece
}

// Expire deletes the oldest messages, whose date, which is UTC, is before a time. It uses
// the connection of the writer, since SQLite has one writer at a time. It waits for the end of
// a checkpoint, since both at once delay messages more than one after the other.
func (s *Store) Expire(ctx context.Context, before time.Time) (savemail.Expired, error) {
	if c := s.checkpointer(); c != nil {
		if err := c.wait(ctx); err != nil {
			return savemail.Expired{}, fmt.Errorf("%w: %s: wait for a checkpoint: %w", savemail.ErrUnavailable, s.options.File, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.tryOpen(ctx); err != nil {
		return savemail.Expired{}, err
	}
	d := &s.database.deletion
	if err := s.database.prepareDeletion(ctx, s.options.Table); err != nil {
		return savemail.Expired{}, err
	}
	rows, took, err := s.deleteOldest(ctx, before.UTC().Format(dateLayout), d.piece)
	if err != nil {
		return savemail.Expired{}, err
	}
	expired := savemail.Expired{Rows: rows, More: rows == d.piece}
	switch {
	case took > pieceTime:
		d.piece = max(d.piece/2, 1)
	case took < pieceTime/2 && expired.More:
		d.piece = min(2*d.piece, maxPiece)
	}
	var date string
	if err := d.oldest.QueryRowContext(ctx).Scan(&date); err != nil {
		return savemail.Expired{}, fmt.Errorf("read the oldest date: %w", err)
	}
	expired.Oldest, _ = time.Parse(dateLayout, date) // zero if another program has written another format
	return expired, nil
}

// checkpointer returns nil if the file is not open.
func (s *Store) checkpointer() *checkpointer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.database == nil {
		return nil
	}
	return s.database.checkpointer
}

// dateGlob is the form of a date that can be compared as text. A date in another form,
// which another program has written, does not show the age of the message, which stays.
const dateGlob = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*"

// deleteOldest deletes up to n messages in one transaction, and returns how long that took.
// The transaction does not sync the WAL: a message that is back after a power loss is deleted
// again, and the commit of the next message makes the whole WAL durable before it is
// acknowledged.
func (s *Store) deleteOldest(ctx context.Context, before string, n int) (rows int, took time.Duration, err error) {
	d := s.database
	checkpointer, conn := d.checkpointer, d.conn
	if err := checkpointer.lock(ctx); err != nil {
		return 0, 0, fmt.Errorf("%w: %s: wait for a checkpoint: %w", savemail.ErrUnavailable, s.options.File, err)
	}
	defer checkpointer.unlock()
	began := time.Now()
	if _, err := conn.ExecContext(ctx, "PRAGMA synchronous=NORMAL"); err != nil {
		return 0, 0, s.abort("delete old messages", err)
	}
	defer func() {
		if s.database == nil {
			return // the next open sets FULL
		}
		if _, fullErr := conn.ExecContext(context.Background(), "PRAGMA synchronous=FULL"); fullErr != nil {
			rows, err = 0, errors.Join(err, s.abort("sync commits again", fullErr))
			s.suspect = true
			if s.database != nil {
				s.closeDatabase()
			}
			return
		}
		if err == nil && rows > 0 {
			checkpointer.countCommit(conn)
		}
	}()
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return 0, 0, s.abort("delete old messages", err)
	}
	result, err := d.deletion.deleteOldest.ExecContext(context.Background(), before, n)
	if err != nil {
		return 0, 0, s.abort("delete old messages", err)
	}
	if err := checkpointer.err(); err != nil {
		return 0, 0, s.abort("checkpoint", err) // as in save
	}
	if _, err := conn.ExecContext(context.Background(), "COMMIT"); err != nil {
		return 0, 0, s.handleCommitError(err)
	}
	took = time.Since(began)
	deleted, err := result.RowsAffected()
	return int(deleted), took, err
}

// prepareDeletion prepares the statements of d.deletion, if another program may have changed
// the table since the last call.
func (d *database) prepareDeletion(ctx context.Context, table string) error {
	var version int64
	if err := d.readVersion.QueryRowContext(ctx).Scan(&version); err != nil {
		return fmt.Errorf("read the schema version: %w", err)
	}
	if d.deletion.deleteOldest != nil && version == d.deletion.version {
		return nil
	}
	if err := d.deletion.close(); err != nil {
		return fmt.Errorf("close the statements of the deletion: %w", err)
	}
	d.deletion = deletion{version: version, piece: 1}
	key, err := d.canExpire(ctx, table)
	if err != nil {
		return err
	}
	name := quote(table)
	if d.deletion.oldest, err = d.conn.PrepareContext(ctx, `SELECT COALESCE(MIN("date"),'') FROM `+name); err != nil {
		return fmt.Errorf("prepare to read the oldest date: %w", err)
	}
	d.deletion.deleteOldest, err = d.conn.PrepareContext(ctx, "DELETE FROM "+name+" WHERE "+key+
		" IN (SELECT "+key+" FROM "+name+` WHERE "date"<? AND "date" GLOB '`+dateGlob+`' ORDER BY "date" LIMIT ?)`)
	if err != nil {
		return fmt.Errorf("prepare the DELETE: %w", err)
	}
	return nil
}

func (d *deletion) close() error {
	var errs []error
	for _, statement := range []*sql.Stmt{d.deleteOldest, d.oldest} {
		if statement != nil {
			errs = append(errs, statement.Close())
		}
	}
	return errors.Join(errs...)
}

// canExpire returns the column that identifies a row to delete, or an error if the table has
// no column date, or no index on it: without an index each piece would read the whole table.
func (d *database) canExpire(ctx context.Context, table string) (key string, err error) {
	var date, indexed, withoutRowID bool
	err = d.conn.QueryRowContext(ctx, `SELECT EXISTS(SELECT 1 FROM pragma_table_info(?1) WHERE name='date' COLLATE NOCASE),
		EXISTS(SELECT 1 FROM pragma_index_list(?1) AS l, pragma_index_info(l.name) AS i WHERE l.partial=0 AND i.seqno=0 AND i.name='date' COLLATE NOCASE),
		EXISTS(SELECT 1 FROM pragma_table_list WHERE schema='main' AND name=?1 COLLATE NOCASE AND wr)`, table).Scan(&date, &indexed, &withoutRowID)
	switch {
	case err != nil:
		return "", fmt.Errorf("read the indexes of %s: %w", table, err)
	case !date:
		return "", fmt.Errorf("GM_KEEP_HOURS needs the column date in the table %s", table)
	case !indexed:
		return "", fmt.Errorf("GM_KEEP_HOURS needs an index: want CREATE INDEX %s ON %s (date)", quote(table+".date"), quote(table))
	case withoutRowID:
		return `"hash"`, nil
	}
	return "_rowid_", nil
}

// freeInterval is how often Free counts the free pages of the file.
const freeInterval = time.Second

// Free returns the free bytes of the disk and of the pages in the file that deleted
// messages have left.
func (s *Store) Free() (int64, error) {
	free, err := savemail.FreeSpace(s.options.File)
	if err != nil {
		return 0, err
	}
	if s.mu.TryLock() { // a Save may take long
		if s.database != nil && time.Since(s.freeRead) >= freeInterval {
			s.freeRead = time.Now()
			var pages int64
			if s.database.conn.QueryRowContext(s.ctx, "SELECT freelist_count*page_size FROM pragma_freelist_count, pragma_page_size").Scan(&pages) == nil {
				s.freePages.Store(pages)
			}
		}
		s.mu.Unlock()
	}
	return free + s.freePages.Load(), nil
}
