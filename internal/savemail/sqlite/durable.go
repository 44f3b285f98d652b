package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"goguerrillad/internal/savemail"
)

// After a failed write or sync, the page cache cannot be trusted. Linux reports the
// failure once and marks the pages clean. Reads then return bytes that are not on the
// disk, and no later fsync(2) writes these bytes. SQLite uses them: a connection that
// recovers the WAL treats the frames of a failed commit as committed, and a checkpoint
// syncs only the pages that it has just copied.
//
// Therefore the store closes its connections after any failure, and makes the file
// durable before it acknowledges a message. It also does this whenever it opens the
// file, since an earlier process may have left the file after a failure. The steps
// run under SQLite's write lock. Each step states where the bytes are after it:
//
//  1. Ask for the state of the WAL: it has n committed frames, and the first k of them
//     are copied into the database file. If no other connection has the wal-index
//     open, SQLite has just recovered it, and k is 0.
//  2. Read the frames 1 to n, verify their checksums, write the same bytes again, cut
//     off the rest of the WAL, sync, and reserve space (rewriteWAL). Each byte was
//     written after the failure, so the sync covers it. The WAL on the disk is now
//     exactly the n frames, without a hole, followed by zeros. A failed commit is
//     either among the frames, complete and durable, or permanently removed. If the
//     kernel has dropped pages since step 1, the checksums do not match, and the store
//     starts again from step 1.
//  3. Write the pages of the frames 1 to k again, as new frames after frame n, and
//     commit. The copies of these pages in the database file may be lost: a sync that
//     failed may have covered an earlier, unsynced part of the checkpoint. SQLite
//     reads these pages from the database file, so the store reads them from the WAL.
//     The next checkpoint copies the new frames. Page 1 is always among the pages. Its
//     commit proves that the WAL can be written, and creates the WAL if it is missing.
//  4. Run a checkpoint. Page 1 is on the disk after it; without page 1, SQLite would
//     delete the WAL after a crash. For a file that is being created, the checkpoint
//     must be complete. Later, a reader may prevent it from copying all frames.
//  5. Sync the directories: SQLite ignores a failure to sync the name of the WAL.
//
// No acknowledged frame follows a hole. A commit appends to the n frames, which have
// no hole, and the first failure after it starts these steps again before the next
// acknowledgement.
//
// No page is lost with the WAL. SQLite starts the WAL again only after a checkpoint
// that has copied and synced all of it. Every page that was copied without a
// successful sync is in a frame after the first k.
//
// A crash between two steps leaves a WAL whose first n frames are the old frames or
// the same bytes again.
//
// If k = n, step 3 writes only page 1. SQLite then starts the WAL again with the next
// frame, which overwrites the frames 1 to n, so the store cannot read them meanwhile.
// It does not need them: a checkpoint that has copied all frames has synced the file.
// There is one exception. If a checkpoint of this store has failed, and a later
// checkpoint of another program hides the failure, the pages may be lost. The store then
// waits until no other program has the file open, and recovers with k = 0. If k < n, the
// transaction reads the WAL, so SQLite appends to it.

// makeDurable runs these steps. If complete is set, it fails unless the checkpoint of
// step 4 copies and syncs all of the WAL. suspect means that a checkpoint may have
// failed since the store last opened the file.
func (d *database) makeDurable(ctx context.Context, complete, suspect bool) error {
	if err := d.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("lock for recovery: %w", err)
	}
	state, err := d.checkpointer.state(ctx)
	if err != nil {
		return fmt.Errorf("read the state of the WAL: %w", err)
	}
	switch all := state.frames == state.copied; {
	case state.busy || state.frames < 0:
		return errors.New("read the state of the WAL: another program holds a lock")
	case all && state.frames > 0 && suspect:
		return errors.New("recover the WAL: another program has the file open and ran a checkpoint after a failed one")
	case all:
		state.copied = 0
	}
	pages, err := rewriteWAL(ctx, d.path+"-wal", state.frames, state.copied)
	if err != nil {
		return err
	}
	if err := d.rewritePages(ctx, pages); err != nil {
		return fmt.Errorf("rewrite pages: %w", err)
	}
	if err := d.exec(context.Background(), "COMMIT"); err != nil {
		return fmt.Errorf("commit the rewritten pages: %w", err)
	}
	if err := d.checkpoint(ctx, complete); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return d.syncDirs()
}

// completeTimeout is how long readers of older frames may delay a checkpoint that must
// be complete.
const completeTimeout = time.Second

// checkpoint copies the WAL. With complete, it repeats until all of the WAL is copied:
// a new reader is no obstacle, since it reads the newest frames. SQLite's own wait
// (FULL) would wait until no reader uses the same lock.
func (d *database) checkpoint(ctx context.Context, complete bool) error {
	waiting, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	for {
		result, err := d.checkpointer.pass(ctx)
		if err != nil || result.complete() || !complete {
			return err
		}
		select {
		case <-waiting.Done():
			return errors.New("another program reads or writes the file")
		case <-time.After(completeTimeout / 100):
		}
	}
}

func (d *database) exec(ctx context.Context, statement string) error {
	_, err := d.conn.ExecContext(ctx, statement)
	return err
}

// rewritePages writes the pages in the transaction, with their content from the WAL.
// If page 1 is not among them, it writes page 1 unchanged.
func (d *database) rewritePages(ctx context.Context, pages walPages) error {
	if _, ok := pages.offsets[1]; !ok {
		if err := d.exec(ctx, "UPDATE sqlite_dbpage SET data=data WHERE pgno=1"); err != nil {
			return err
		}
	}
	if len(pages.offsets) == 0 {
		return nil
	}
	wal, err := os.Open(d.path + "-wal")
	if err != nil {
		return err
	}
	defer wal.Close()
	data := make([]byte, pages.size)
	for page, offset := range pages.offsets {
		if _, err := wal.ReadAt(data, offset); err != nil {
			return err
		}
		if _, err := d.conn.ExecContext(ctx, "UPDATE sqlite_dbpage SET data=? WHERE pgno=?", data, page); err != nil {
			return err
		}
	}
	return nil
}

// syncDirs makes the names of the file, its WAL and its directory durable. An earlier
// process may have created them and failed to sync the names.
func (d *database) syncDirs() error {
	dir := filepath.Dir(d.path)
	if err := savemail.SyncDir(dir); err != nil {
		return fmt.Errorf("sync the directory: %w", err)
	}
	if err := savemail.SyncName(dir); err != nil {
		return fmt.Errorf("sync the parent directory: %w", err)
	}
	return nil
}
