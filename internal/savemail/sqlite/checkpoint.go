package sqlite

import (
	"context"
	"database/sql"
	"sync"

	"modernc.org/sqlite"
)

// A checkpoint copies pages from the WAL into the file and syncs it, which takes
// as long as many commits. So it is made on a connection of its own, beside
// them; the writer waits only for the last part, which is what was committed
// meanwhile: the WAL begins anew when nothing is left in it. SQLite's own, which
// the writer makes from 1,000 pages on (wal_autocheckpoint), stays for when a
// reader or a slow disk keeps this one from its end.
const (
	checkpointPages = 500 // of the WAL are worth a checkpoint
	restPages       = 250 // for which the writer may wait
	maxPasses       = 3   // before the writer waits in any case
)

// A checkpointer has one goroutine, until stop.
type checkpointer struct {
	db      *sql.DB
	pages   int           // that the writer has written since it asked for a checkpoint
	wanted  chan struct{} // holds 1
	writing chan struct{} // holds 1: a transaction, or the last part of a checkpoint
	cancel  context.CancelFunc
	stopped sync.WaitGroup
}

// newCheckpointer opens the file at path once more.
func newCheckpointer(ctx context.Context, path string) (*checkpointer, error) {
	db, err := connect(path, "mode=rw&_pragma=synchronous(FULL)")
	if err != nil {
		return nil, err
	}
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close() // nothing was done with it
		return nil, err
	}
	c := &checkpointer{db: db, wanted: make(chan struct{}, 1), writing: make(chan struct{}, 1)}
	ctx, c.cancel = context.WithCancel(context.Background())
	c.stopped.Go(func() { c.run(ctx) })
	return c, nil
}

// stop interrupts a checkpoint and closes the connection.
func (c *checkpointer) stop() error {
	c.cancel()
	c.stopped.Wait()
	return c.db.Close()
}

// begin waits for the end of a checkpoint's last part.
func (c *checkpointer) begin(ctx context.Context) error {
	select {
	case c.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end follows begin when the transaction is over.
func (c *checkpointer) end() { <-c.writing }

// committed counts what the writer's connection has written.
func (c *checkpointer) committed(writer *sql.Conn) {
	// Where that fails, the next Save will hear why.
	_ = writer.Raw(func(driver any) error {
		pages, _, err := driver.(sqlite.DBStatus).Status(sqlite.DBStatusCacheWrite, true)
		c.pages += pages
		return err
	})
	if c.pages < checkpointPages {
		return
	}
	c.pages = 0
	select {
	case c.wanted <- struct{}{}:
	default:
	}
}

func (c *checkpointer) run(ctx context.Context) {
	for {
		select {
		case <-c.wanted:
			c.checkpoint(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// checkpoint copies what the WAL holds. An error is nobody's business yet: mail
// is as safe in the WAL, and the next checkpoint begins where this one ended.
func (c *checkpointer) checkpoint(ctx context.Context) {
	for done, pass := 0, 1; pass <= maxPasses; pass++ {
		before := done
		var err error
		if done, err = c.pass(ctx); err != nil {
			return
		}
		if done-before <= restPages {
			break
		}
	}
	if c.begin(ctx) != nil { // a writer that stops it has begun
		return
	}
	defer c.end()
	_, _ = c.pass(ctx)
}

// pass copies what was committed before it began, unless a reader needs the file
// as it is, and returns how many pages of the WAL have been copied by now.
func (c *checkpointer) pass(ctx context.Context) (done int, err error) {
	var busy, length int
	err = c.db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &length, &done)
	return done, err
}
