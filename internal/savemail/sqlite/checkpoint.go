package sqlite

import (
	"context"
	"database/sql"
	"log/slog"
	"sync"
	"sync/atomic"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// A checkpoint copies pages from the WAL into the file and syncs it, which takes
// as long as many commits. So it runs on a connection of its own, concurrently
// with them; the writer waits only for the last part, which is what was committed
// meanwhile: the WAL begins again from its start when nothing is left in it.
// SQLite's automatic checkpoints are off, since they hide their errors; the
// writer makes one when a reader or a slow disk keeps this one from its end.
const (
	checkpointPages = 500  // of the WAL are worth a checkpoint
	writerPages     = 1000 // that are not copied make the writer do a checkpoint
	restPages       = 250  // for which the writer may wait
	maxPasses       = 3    // before the writer waits in any case
)

// A checkpointer has one goroutine, until stop.
type checkpointer struct {
	db      *sql.DB
	log     *slog.Logger
	failure atomic.Pointer[error] // of the first checkpoint that failed
	pages   int                   // that the writer has written since it asked for a checkpoint
	backlog int                   // pages of the WAL that are not in the file; writing guards it
	wanted  chan struct{}         // holds 1
	writing chan struct{}         // holds 1: a transaction, or the last part of a checkpoint
	cancel  context.CancelFunc
	stopped sync.WaitGroup
}

// newCheckpointer opens the file at path once more.
func newCheckpointer(ctx context.Context, path string, log *slog.Logger) (*checkpointer, error) {
	db, err := connect(path, "mode=rw&_pragma=synchronous(FULL)&_pragma=wal_autocheckpoint(0)")
	if err != nil {
		return nil, err
	}
	if err := keepWAL(ctx, db); err != nil {
		_ = db.Close() // nothing was done with it
		return nil, err
	}
	c := &checkpointer{db: db, log: log.With("file", path), wanted: make(chan struct{}, 1), writing: make(chan struct{}, 1)}
	ctx, c.cancel = context.WithCancel(context.Background())
	c.stopped.Go(func() { c.run(ctx) })
	return c, nil
}

// keepWAL has the one connection of a pool leave the WAL when it closes.
func keepWAL(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return persistWAL(conn, true)
}

// persistWAL says whether SQLite leaves the WAL when the connection closes as
// the last one. Otherwise it deletes the WAL after a checkpoint, which trusts
// what earlier ones have copied.
func persistWAL(conn *sql.Conn, on bool) error {
	mode := 0
	if on {
		mode = 1
	}
	return conn.Raw(func(driver any) error {
		_, err := driver.(sqlite.FileControl).FileControlPersistWAL("main", mode)
		return err
	})
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
	// Where that fails, the next Save will fail as well.
	_ = writer.Raw(func(driver any) error {
		pages, _, err := driver.(sqlite.DBStatus).Status(sqlite.DBStatusCacheWrite, true)
		c.pages += pages
		c.backlog += pages
		return err
	})
	if c.pages >= checkpointPages {
		c.pages = 0
		select {
		case c.wanted <- struct{}{}:
		default:
		}
	}
	if c.backlog >= writerPages && c.err() == nil {
		state, err := walState(context.Background(), writer, "PASSIVE")
		c.copied(state)
		c.fail(err)
	}
}

// run does checkpoints until one fails: the next would take what that one has
// copied for synced.
func (c *checkpointer) run(ctx context.Context) {
	for c.err() == nil {
		select {
		case <-c.wanted:
			if err := c.checkpoint(ctx); ctx.Err() == nil {
				c.fail(err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// fail takes note of a checkpoint that failed. What it has copied may be lost
// (durable.go): the store opens the file again before the next transaction.
func (c *checkpointer) fail(err error) {
	if err != nil && c.failure.CompareAndSwap(nil, &err) {
		c.log.Error("SQLite checkpoint failed", "error", err)
	}
}

// err returns why a checkpoint failed, nil if none has.
func (c *checkpointer) err() error {
	if err := c.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// checkpoint copies what the WAL holds.
func (c *checkpointer) checkpoint(ctx context.Context) error {
	for done, pass := 0, 1; pass <= maxPasses; pass++ {
		state, err := c.pass(ctx)
		if err != nil {
			return err
		}
		if state.copied-done <= restPages {
			break
		}
		done = state.copied
	}
	if c.begin(ctx) != nil { // a writer that stops it has begun
		return nil
	}
	defer c.end()
	state, err := c.pass(ctx)
	c.copied(state)
	return err
}

// copied sets the backlog; the caller is between begin and end.
func (c *checkpointer) copied(state walFrames) {
	if !state.busy {
		c.backlog = state.frames - state.copied
	}
}

// pass copies what was committed before it began, unless a reader needs the file
// as it is.
func (c *checkpointer) pass(ctx context.Context) (walFrames, error) {
	return walState(ctx, c.db, "PASSIVE")
}

// state returns what the WAL holds and copies nothing.
func (c *checkpointer) state(ctx context.Context) (walFrames, error) {
	return walState(ctx, c.db, "NOOP")
}

// walFrames is what a checkpoint reports.
type walFrames struct {
	frames int  // committed frames in the WAL
	copied int  // of them, how many are in the database file
	busy   bool // another checkpoint ran, or a reader was in the way: nothing is known
}

// complete reports whether all of the WAL is in the file, and synced.
func (w walFrames) complete() bool { return !w.busy && w.frames == w.copied }

// A querier is a connection, or a pool of one.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// walState runs a checkpoint. It reports a lock that another connection holds as
// busy, not as an error.
func walState(ctx context.Context, db querier, mode string) (w walFrames, err error) {
	err = db.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&w.busy, &w.frames, &w.copied)
	if code := primary(err); code == lib.SQLITE_BUSY || code == lib.SQLITE_LOCKED {
		return walFrames{busy: true}, nil
	}
	return w, err
}
