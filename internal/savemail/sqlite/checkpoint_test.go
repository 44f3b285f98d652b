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

const mb = 1 << 20

// many mails of 1 MB are more pages than are worth a checkpoint beside the
// commits, and fewer than make the writer's connection begin one.
const many = 12

// saveMany saves them in one batch.
func saveMany(t *testing.T, s *sqlite.Store) {
	t.Helper()
	message := text + strings.Repeat(strings.Repeat("x", 62)+"\r\n", mb/64)
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

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// awaitSize waits until checkpoints have brought so many MB into the file.
func awaitSize(t *testing.T, path string, want int64) {
	t.Helper()
	test.Await(t, nil, time.Minute, "what was committed is not moved into the file", func() error {
		if got := size(t, path); got < want*mb {
			return fmt.Errorf("it has %d bytes", got)
		}
		return nil
	})
}

// What was committed is moved into the file while the store is open, and the
// WAL begins anew instead of growing.
func TestCheckpoint(t *testing.T) {
	o := options(t)
	s := open(t, o)
	db := connect(t, o.File)
	for round := range int64(6) {
		saveMany(t, s)
		awaitSize(t, o.File, (round+1)*many)
		test.Await(t, nil, time.Minute, "a checkpoint does not end", func() error { // the next Save would lengthen the WAL
			var busy, frames, copied int
			err := db.QueryRow("PRAGMA wal_checkpoint(NOOP)").Scan(&busy, &frames, &copied)
			if err == nil && (busy != 0 || frames != copied) {
				err = fmt.Errorf("%d of %d frames are copied", copied, frames)
			}
			return err
		})
	}
	if got := size(t, o.File+"-wal"); got > 3*many*mb {
		t.Errorf("the WAL has grown to %d bytes, %d MB were saved", got, 6*many)
	}
	if err := errors.Join(db.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(o.File + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the WAL of a file that is closed: %v, want none", err)
	}
}

// A reader that stays keeps what came after it began in the WAL, and nobody
// else waits for that.
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
		t.Fatalf("%d rows (%v), want %d", n, err, many)
	}
	for range 5 {
		saveMany(t, s)
	}
	if got := size(t, o.File); got > 2*many*mb {
		t.Errorf("the file has %d bytes beside a reader that has seen %d MB", got, many)
	}
	if err := reader.QueryRow("SELECT count(*) FROM new_mail").Scan(&n); err != nil || n != many {
		t.Errorf("the reader sees %d rows (%v), want its %d", n, err, many)
	}
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	saveMany(t, s)
	awaitSize(t, o.File, 7*many)
}

// A file that is taken away while a checkpoint is made of it is complete.
func TestMovedDuringCheckpoint(t *testing.T) {
	o := options(t)
	s := open(t, o)
	for i := range 5 {
		saveMany(t, s)
		away := fmt.Sprintf("%s.%d", o.File, i)
		if err := os.Rename(o.File, away); err != nil {
			t.Fatal(err)
		}
		one(t, s, nil) // notices
		if got := len(rows(t, away)); got < many {
			t.Errorf("the file that was moved away has %d rows, want those of its %d mails", got, many)
		}
	}
}
