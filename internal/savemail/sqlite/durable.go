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

// After a failed write or sync the page cache cannot be trusted: Linux reports
// the failure once, marks the pages clean, and serves bytes that are not on the
// disk and that no later fsync(2) writes. SQLite reads them back: a connection
// that recovers the WAL takes the frames of a failed commit for committed, and a
// checkpoint syncs only what it has just copied. So after any failure, and
// whenever the file is opened, since an earlier process may have left it after a
// failure, the store drops its connections and makes the file durable before it
// acknowledges a message. The steps, under SQLite's write lock, and where the
// bytes are after each:
//
//  1. Ask for the state of the WAL: n committed frames, of which the first k
//     are copied into the database file. If no other connection kept the
//     wal-index alive, SQLite has just recovered it: k is 0.
//  2. Read the frames 1 to n, verify their checksums, write the same bytes
//     again, cut off what follows, sync, and reserve room for more (rewriteWAL).
//     Each byte was written after the failure, so the sync covers it: the WAL on
//     the disk is exactly the n frames, without a hole, and zeros. A failed commit
//     is now either among them, whole and durable, or gone for good. If the kernel
//     has dropped pages since step 1, the checksums do not match and the store
//     begins again.
//  3. Write the pages of frames 1 to k again, as new frames after the n, and
//     commit. Their copies in the database file may be lost: a sync that failed
//     may have covered an earlier, unsynced part of the checkpoint. SQLite reads
//     them from there, so their content is taken from the WAL. The next
//     checkpoint copies the new frames. Page 1 is always among the pages: the
//     commit proves that the WAL can be written, and creates it.
//  4. Checkpoint. Page 1 is on the disk after that: without it SQLite would
//     delete the WAL after a crash. For a file that is being created, this must
//     succeed; later a reader may keep the checkpoint from its end.
//  5. Sync the directories: SQLite ignores a failure to sync the name of the WAL.
//
// No acknowledged frame can follow a hole, since a commit appends to the n
// frames, which have none, and the first failure after it begins all this again
// before the next acknowledgement. No page is lost with the WAL, since SQLite
// starts the WAL again only after a checkpoint that has copied and synced all of
// it, and every page that was copied without a successful sync is in a frame
// after the first k. A crash between the steps leaves a WAL whose first n frames
// are the old ones or the same bytes again.
//
// If k = n, step 3 writes no page but page 1. SQLite starts the WAL again with the
// next frame then, so the frames 1 to n are overwritten and cannot be read
// meanwhile. They are not needed, since a checkpoint that has copied all frames
// has synced the file. Only if one of ours has failed before, and another program
// has hidden that by a later one, the pages may be lost: then the store waits until
// no other program has the file open, and recovers with k = 0. If k < n, the
// transaction reads the WAL, so SQLite appends to it.

// makeDurable does these steps. If whole is set, it fails unless the checkpoint
// of step 4 copies and syncs all of the WAL. suspect says that a checkpoint may
// have failed since the file was opened before.
func (f *file) makeDurable(ctx context.Context, whole, suspect bool) error {
	if err := f.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("lock for recovery: %w", err)
	}
	state, err := f.checkpointer.state(ctx)
	if err != nil {
		return fmt.Errorf("read the state of the WAL: %w", err)
	}
	switch all := state.frames == state.copied; {
	case state.busy || state.frames < 0:
		return errors.New("the state of the WAL is not known")
	case all && state.frames > 0 && suspect:
		return errors.New("another program has the file open and has made a checkpoint after one that failed")
	case all:
		state.copied = 0
	}
	pages, err := rewriteWAL(ctx, f.path+"-wal", state.frames, state.copied)
	if err != nil {
		return err
	}
	if err := f.rewritePages(ctx, pages); err != nil {
		return fmt.Errorf("write pages again: %w", err)
	}
	if err := f.exec(context.Background(), "COMMIT"); err != nil {
		return fmt.Errorf("commit the pages: %w", err)
	}
	if err := f.checkpoint(ctx, whole); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return f.syncDirs()
}

// wholeTime is how long readers of what was there before may delay a checkpoint
// that must be whole.
const wholeTime = time.Second

// checkpoint copies the WAL, with whole all of it. A reader that begins again is
// not in the way, since it reads the newest frames. SQLite's own wait (FULL) would
// wait until no reader uses the same lock.
func (f *file) checkpoint(ctx context.Context, whole bool) error {
	waiting, cancel := context.WithTimeout(ctx, wholeTime)
	defer cancel()
	for {
		state, err := f.checkpointer.pass(ctx)
		if err != nil || state.complete() || !whole {
			return err
		}
		select {
		case <-waiting.Done():
			return errors.New("another program reads or writes the file")
		case <-time.After(wholeTime / 100):
		}
	}
}

func (f *file) exec(ctx context.Context, statement string) error {
	_, err := f.conn.ExecContext(ctx, statement)
	return err
}

// rewritePages puts pages of the WAL into the transaction, and page 1 as it is
// unless it is among them.
func (f *file) rewritePages(ctx context.Context, pages walPages) error {
	if _, ok := pages.at[1]; !ok {
		if err := f.exec(ctx, "UPDATE sqlite_dbpage SET data=data WHERE pgno=1"); err != nil {
			return err
		}
	}
	if len(pages.at) == 0 {
		return nil
	}
	wal, err := os.Open(f.path + "-wal")
	if err != nil {
		return err
	}
	defer wal.Close()
	data := make([]byte, pages.size)
	for page, at := range pages.at {
		if _, err := wal.ReadAt(data, at); err != nil {
			return err
		}
		if _, err := f.conn.ExecContext(ctx, "UPDATE sqlite_dbpage SET data=? WHERE pgno=?", data, page); err != nil {
			return err
		}
	}
	return nil
}

// syncDirs makes the names of the file, its WAL and its directory durable. An
// earlier process may have created them and failed to.
func (f *file) syncDirs() error {
	dir := filepath.Dir(f.path)
	if err := savemail.SyncDir(dir); err != nil {
		return fmt.Errorf("sync the directory: %w", err)
	}
	if err := savemail.SyncName(dir); err != nil {
		return fmt.Errorf("sync the directory above: %w", err)
	}
	return nil
}
