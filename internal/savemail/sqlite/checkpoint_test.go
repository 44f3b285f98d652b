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
	"goguerrillad/internal/savemail/storetest"
	"goguerrillad/internal/testserver"
)

const mb = 1 << 20

// saveMany saves 20 mails of 1 MB in one batch, which are more than the pages
// that are worth a checkpoint.
func saveMany(t *testing.T, s *sqlite.Store) {
	t.Helper()
	message := text + strings.Repeat(strings.Repeat("x", 62)+"\r\n", mb/64)
	batch := make([]*envelope.Envelope, 20)
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
	testserver.Await(t, nil, time.Minute, "what was committed is not moved into the file", func() error {
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
	for round := range int64(6) {
		saveMany(t, s)
		awaitSize(t, o.File, (round+1)*20)
	}
	if got := size(t, o.File+"-wal"); got > 45*mb {
		t.Errorf("the WAL has grown to %d bytes, 120 MB were saved", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(o.File + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the WAL of a file that is closed: %v, want none", err)
	}
}

// However fast mails come, the WAL ends some time.
func TestCheckpointUnderLoad(t *testing.T) {
	o := options(t)
	s := open(t, o)
	for range 15 {
		saveMany(t, s)
	}
	if got := size(t, o.File+"-wal"); got > 120*mb {
		t.Errorf("the WAL has grown to %d bytes, 300 MB were saved", got)
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
	if err := reader.QueryRow("SELECT count(*) FROM new_mail").Scan(&n); err != nil || n != 20 {
		t.Fatalf("%d rows (%v), want 20", n, err)
	}
	for range 5 {
		saveMany(t, s)
	}
	if got := size(t, o.File); got > 30*mb {
		t.Errorf("the file has %d bytes beside a reader that has seen 20 MB", got)
	}
	if err := reader.QueryRow("SELECT count(*) FROM new_mail").Scan(&n); err != nil || n != 20 {
		t.Errorf("the reader sees %d rows (%v), want its 20", n, err)
	}
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	saveMany(t, s)
	awaitSize(t, o.File, 7*20)
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
		if got := len(rows(t, away)); got < 20 {
			t.Errorf("the file that was moved away has %d rows, want those of its 20 mails", got)
		}
	}
}
