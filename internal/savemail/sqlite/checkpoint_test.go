package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail/sqlite"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/storetest"
)

const mib = 1 << 20

// many messages of 1 MiB have more pages than requestPages and fewer than
// writerPages.
const many = 12

// saveMany saves many messages in one batch.
func saveMany(t *testing.T, s *sqlite.Store) {
	t.Helper()
	message := text + strings.Repeat(strings.Repeat("x", 62)+"\r\n", mib/64)
	batch := make([]*envelope.Envelope, many)
	for i := range batch {
		batch[i] = storetest.Envelope(message, "b@example.com")
	}
	for _, err := range s.Save(t.Context(), batch) {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// size returns the size of a file in bytes.
func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// awaitSize waits until the file has at least want MiB.
func awaitSize(t *testing.T, path string, want int64) {
	t.Helper()
	test.Await(t, nil, time.Minute, "the WAL is not copied into the file", func() error {
		if got := size(t, path); got < want*mib {
			return fmt.Errorf("the file has %d bytes, want %d MiB", got, want)
		}
		return nil
	})
}

// TestCheckpoint: checkpoints copy committed messages into the file while the
// store is open, and SQLite starts the WAL again instead of extending it.
func TestCheckpoint(t *testing.T) {
	o := options(t)
	s := open(t, o)
	db := connect(t, o.File)
	for round := range int64(6) {
		saveMany(t, s)
		awaitSize(t, o.File, (round+1)*many)
		// During a checkpoint, the next Save would extend the WAL.
		test.Await(t, nil, time.Minute, "a checkpoint does not end", func() error {
			var busy, frames, copied int
			err := db.QueryRow("PRAGMA wal_checkpoint(NOOP)").Scan(&busy, &frames, &copied)
			if err == nil && (busy != 0 || frames != copied) {
				err = fmt.Errorf("busy %d, %d of %d frames are copied", busy, copied, frames)
			}
			return err
		})
	}
	if got := size(t, o.File+"-wal"); got > 3*many*mib {
		t.Errorf("the WAL has %d bytes after %d MiB of messages, want at most %d MiB", got, 6*many, 3*many)
	}
	if err := errors.Join(db.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(o.File + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of the WAL after Close returns %v, want %v", err, fs.ErrNotExist)
	}
}

// TestCheckpointWithReader: while another program reads, checkpoints leave the newer
// messages in the WAL, and no Save waits for the reader.
func TestCheckpointWithReader(t *testing.T) {
	o := options(t)
	s := open(t, o)
	saveMany(t, s)
	reader, err := connect(t, o.File).BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := reader.QueryRow("SELECT count(*) FROM new_mail").Scan(&n); err != nil || n != many {
		t.Fatalf("the reader sees %d rows, want %d (error %v)", n, many, err)
	}
	for range 5 {
		saveMany(t, s)
	}
	if got := size(t, o.File); got > 2*many*mib {
		t.Errorf("the file has %d bytes, want at most %d MiB while a reader sees %d MiB", got, 2*many, many)
	}
	if err := reader.QueryRow("SELECT count(*) FROM new_mail").Scan(&n); err != nil || n != many {
		t.Errorf("the reader sees %d rows, want %d as before (error %v)", n, many, err)
	}
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	saveMany(t, s)
	awaitSize(t, o.File, 7*many)
}

// TestMovedDuringCheckpoint: a file that is moved during a checkpoint is complete.
func TestMovedDuringCheckpoint(t *testing.T) {
	o := options(t)
	s := open(t, o)
	for i := range 5 {
		saveMany(t, s)
		moved := fmt.Sprintf("%s.%d", o.File, i)
		if err := os.Rename(o.File, moved); err != nil {
			t.Fatal(err)
		}
		saveOne(t, s, nil) // the store opens a new file
		if got := len(rows(t, moved)); got < many {
			t.Errorf("the moved file has %d rows, want at least %d", got, many)
		}
	}
}
