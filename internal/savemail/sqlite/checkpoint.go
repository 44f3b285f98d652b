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

// A checkpoint copies pages from the WAL into the file and syncs the file, which
// takes as long as many commits. So it runs on its own connection while the writer
// commits. The writer waits only for the final pass, which copies what was
// committed during the passes before; SQLite starts the WAL again when the file has
// all of its pages. SQLite's automatic checkpoints are off, since SQLite hides
// their errors. The writer runs a checkpoint itself if a reader or a slow disk
// keeps the checkpointer from finishing.
const (
	requestPages = 500  // written pages after which the writer requests a checkpoint
	writerPages  = 1000 // pages that are not copied after which the writer runs a checkpoint
	finalPages   = 250  // if a pass copies at most this many pages, the next is the final one
	maxPasses    = 3    // before the final one
)

// A checkpointer runs checkpoints in one goroutine until stop.
type checkpointer struct {
	db        *sql.DB
	log       *slog.Logger
	failure   atomic.Pointer[error] // of the first checkpoint that failed
	written   int                   // pages that the writer has written since it requested a checkpoint
	backlog   int                   // pages of the WAL that are not in the file; guarded by writeLock
	requested chan struct{}         // capacity 1
	running   chan struct{}         // capacity 1; holds a value during a checkpoint
	writeLock chan struct{}         // capacity 1; held during a transaction or the final pass
	cancel    context.CancelFunc
	stopped   sync.WaitGroup
}

// newCheckpointer opens its own connection to the file at path and starts the
// goroutine.
func newCheckpointer(ctx context.Context, path string, log *slog.Logger) (*checkpointer, error) {
	db, err := openDB(path, "mode=rw&_pragma=synchronous(FULL)&_pragma=wal_autocheckpoint(0)")
	if err != nil {
		return nil, err
	}
	if err := persistWAL(ctx, db); err != nil {
		_ = db.Close() // nothing was done with it
		return nil, err
	}
	c := &checkpointer{
		db:        db,
		log:       log.With("file", path),
		requested: make(chan struct{}, 1),
		running:   make(chan struct{}, 1),
		writeLock: make(chan struct{}, 1),
	}
	ctx, c.cancel = context.WithCancel(context.Background())
	c.stopped.Go(func() { c.run(ctx) })
	return c, nil
}

// persistWAL sets the mode of setPersistWAL on the only connection of a pool.
func persistWAL(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return setPersistWAL(conn, true)
}

// setPersistWAL sets whether SQLite keeps the WAL when conn closes as the last
// connection (SQLITE_FCNTL_PERSIST_WAL). Otherwise SQLite deletes the WAL after a
// checkpoint, which relies on what earlier checkpoints have copied.
func setPersistWAL(conn *sql.Conn, on bool) error {
	mode := 0
	if on {
		mode = 1
	}
	return conn.Raw(func(driver any) error {
		_, err := driver.(sqlite.FileControl).FileControlPersistWAL("main", mode)
		return err
	})
}

// stop interrupts a running checkpoint and closes the connection.
func (c *checkpointer) stop() error {
	c.cancel()
	c.stopped.Wait()
	return c.db.Close()
}

// lock waits for the end of a final pass, and prevents the next until unlock.
func (c *checkpointer) lock(ctx context.Context) error {
	select {
	case c.writeLock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *checkpointer) unlock() { <-c.writeLock }

// wait waits for the end of a checkpoint.
func (c *checkpointer) wait(ctx context.Context) error {
	select {
	case c.running <- struct{}{}:
		<-c.running
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// countCommit counts the pages that a transaction has written, and requests or runs
// a checkpoint if there are enough. The caller holds the lock.
func (c *checkpointer) countCommit(writer *sql.Conn) {
	// If the count cannot be read, the next Save fails as well.
	_ = writer.Raw(func(driver any) error {
		pages, _, err := driver.(sqlite.DBStatus).Status(sqlite.DBStatusCacheWrite, true)
		c.written += pages
		c.backlog += pages
		return err
	})
	if c.written >= requestPages {
		c.written = 0
		select {
		case c.requested <- struct{}{}:
		default:
		}
	}
	if c.backlog >= writerPages && c.err() == nil {
		result, err := walCheckpoint(context.Background(), writer, "PASSIVE")
		c.setBacklog(result)
		c.recordFailure(err)
	}
}

// run runs requested checkpoints until one fails. A checkpoint after a failed one
// would treat the pages that the failed one has copied as synced.
func (c *checkpointer) run(ctx context.Context) {
	for c.err() == nil {
		select {
		case <-c.requested:
			if err := c.checkpoint(ctx); ctx.Err() == nil {
				c.recordFailure(err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// recordFailure records the first checkpoint that fails. The pages that it has
// copied may be lost (durable.go), so the store opens the file again before the
// next transaction.
func (c *checkpointer) recordFailure(err error) {
	if err != nil && c.failure.CompareAndSwap(nil, &err) {
		c.log.Error("SQLite checkpoint failed", "error", err)
	}
}

// err returns the error of the checkpoint that failed, or nil.
func (c *checkpointer) err() error {
	if err := c.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// checkpoint copies the content of the WAL into the file.
func (c *checkpointer) checkpoint(ctx context.Context) error {
	c.running <- struct{}{}
	defer func() { <-c.running }()
	for done, n := 0, 1; n <= maxPasses; n++ {
		result, err := c.pass(ctx)
		if err != nil {
			return err
		}
		if result.copied-done <= finalPages {
			break
		}
		done = result.copied
	}
	if c.lock(ctx) != nil { // the writer holds the lock while it waits in stop
		return nil
	}
	defer c.unlock()
	result, err := c.pass(ctx)
	c.setBacklog(result)
	return err
}

// setBacklog sets the backlog after a checkpoint. The caller holds the lock.
func (c *checkpointer) setBacklog(result checkpointResult) {
	if !result.busy {
		c.backlog = result.frames - result.copied
	}
}

// pass copies the frames that were committed before it begins, except those that
// a reader prevents it from copying.
func (c *checkpointer) pass(ctx context.Context) (checkpointResult, error) {
	return walCheckpoint(ctx, c.db, "PASSIVE")
}

// state returns the state of the WAL and copies nothing.
func (c *checkpointer) state(ctx context.Context) (checkpointResult, error) {
	return walCheckpoint(ctx, c.db, "NOOP")
}

// checkpointResult is the result of a checkpoint
// (https://sqlite.org/pragma.html#pragma_wal_checkpoint).
type checkpointResult struct {
	frames int  // committed frames in the WAL
	copied int  // the first of them that are in the database file
	busy   bool // another connection held a lock: frames and copied are unknown
}

// complete reports whether all of the WAL is in the file and synced.
func (r checkpointResult) complete() bool { return !r.busy && r.frames == r.copied }

// A querier is a connection, or a pool with one connection.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// walCheckpoint runs a checkpoint in the given mode. If another connection holds a
// lock, the result is busy and the error nil.
func walCheckpoint(ctx context.Context, db querier, mode string) (r checkpointResult, err error) {
	err = db.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&r.busy, &r.frames, &r.copied)
	if code := primary(err); code == lib.SQLITE_BUSY || code == lib.SQLITE_LOCKED {
		return checkpointResult{busy: true}, nil
	}
	return r, err
}
