package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"goguerrillad/internal/savemail"
)

// A message that arrives while a piece of old messages is being deleted waits for the
// piece. A piece should take pieceTime at most.
const (
	pieceTime = 2 * time.Millisecond
	maxPiece  = 500 // rows
)

// Expire deletes the oldest messages, whose date, which is UTC, is before a time. It uses
// the connection of the writer, since SQLite has one writer at a time.
func (s *Store) Expire(ctx context.Context, before time.Time) (savemail.Expired, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.tryOpen(ctx); err != nil {
		return savemail.Expired{}, err
	}
	if err := s.database.updateKey(ctx, s.options.Table); err != nil {
		return savemail.Expired{}, err
	}
	s.piece = min(max(s.piece, 1), maxPiece)
	began := time.Now()
	rows, err := s.deleteOldest(ctx, before.UTC().Format(dateLayout), s.piece)
	if err != nil {
		return savemail.Expired{}, err
	}
	expired := savemail.Expired{Rows: rows, More: rows == s.piece}
	switch took := time.Since(began); {
	case took > pieceTime:
		s.piece /= 2
	case took < pieceTime/2 && expired.More:
		s.piece *= 2
	}
	expired.Oldest, err = s.database.oldest(ctx, s.options.Table)
	return expired, err
}

// dateGlob is the form of a date that can be compared as text. A date in another form,
// which another program has written, does not show the age of the message, which stays.
const dateGlob = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*"

// deleteOldest deletes up to n messages in one transaction. The transaction does not sync
// the WAL: a message that is back after a power loss is deleted again, and the commit of
// the next message makes the whole WAL durable before it is acknowledged.
func (s *Store) deleteOldest(ctx context.Context, before string, n int) (rows int, err error) {
	checkpointer, conn := s.database.checkpointer, s.database.conn
	if err := checkpointer.lock(ctx); err != nil {
		return 0, fmt.Errorf("%w: %s: wait for a checkpoint: %w", savemail.ErrUnavailable, s.options.File, err)
	}
	defer checkpointer.unlock()
	if _, err := conn.ExecContext(ctx, "PRAGMA synchronous=NORMAL"); err != nil {
		return 0, s.abort("delete old messages", err)
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
		return 0, s.abort("delete old messages", err)
	}
	table, key := quote(s.options.Table), s.database.key
	result, err := conn.ExecContext(context.Background(), "DELETE FROM "+table+" WHERE "+key+
		" IN (SELECT "+key+" FROM "+table+` WHERE "date"<? AND "date" GLOB '`+dateGlob+`' ORDER BY "date" LIMIT ?)`, before, n)
	if err != nil {
		return 0, s.abort("delete old messages", err)
	}
	if err := checkpointer.err(); err != nil {
		return 0, s.abort("checkpoint", err) // as in save
	}
	if _, err := conn.ExecContext(context.Background(), "COMMIT"); err != nil {
		return 0, s.handleCommitError(err)
	}
	deleted, err := result.RowsAffected()
	return int(deleted), err
}

// updateKey sets d.key, if another program may have changed the table since the last call.
func (d *database) updateKey(ctx context.Context, table string) error {
	var version int64
	if err := d.readVersion.QueryRowContext(ctx).Scan(&version); err != nil {
		return fmt.Errorf("read the schema version: %w", err)
	}
	if d.key != "" && version == d.keyVersion {
		return nil
	}
	d.keyVersion = version
	return d.canExpire(ctx, table)
}

// canExpire returns an error if the table has no column date, or no index on it: without an
// index each piece would read the whole table. It sets d.key.
func (d *database) canExpire(ctx context.Context, table string) error {
	d.key = ""
	var date, indexed, withoutRowID bool
	err := d.conn.QueryRowContext(ctx, `SELECT EXISTS(SELECT 1 FROM pragma_table_info(?1) WHERE name='date' COLLATE NOCASE),
		EXISTS(SELECT 1 FROM pragma_index_list(?1) AS l, pragma_index_info(l.name) AS i WHERE l.partial=0 AND i.seqno=0 AND i.name='date' COLLATE NOCASE),
		EXISTS(SELECT 1 FROM pragma_table_list WHERE schema='main' AND name=?1 COLLATE NOCASE AND wr)`, table).Scan(&date, &indexed, &withoutRowID)
	switch {
	case err != nil:
		return fmt.Errorf("read the indexes of %s: %w", table, err)
	case !date:
		return fmt.Errorf("GM_KEEP_HOURS needs the column date in the table %s", table)
	case !indexed:
		return fmt.Errorf("GM_KEEP_HOURS needs an index: want CREATE INDEX %s ON %s (date)", quote(table+".date"), quote(table))
	}
	if d.key = "_rowid_"; withoutRowID {
		d.key = `"hash"`
	}
	return nil
}

// oldest returns the date of the oldest message, zero if there is none or if another
// program has written a date in another format.
func (d *database) oldest(ctx context.Context, table string) (time.Time, error) {
	var date string
	err := d.conn.QueryRowContext(ctx, `SELECT COALESCE(MIN("date"),'') FROM `+quote(table)).Scan(&date)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the oldest date: %w", err)
	}
	oldest, _ := time.Parse(dateLayout, date)
	return oldest, nil
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
