package sqlite

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// openTest opens a new database.
func openTest(t *testing.T) *database {
	t.Helper()
	d, err := openDatabase(t.Context(), Options{File: filepath.Join(t.TempDir(), "mail.db"), Table: "new_mail", Log: slog.New(slog.DiscardHandler)}, false, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.close(false); err != nil {
			t.Error(err)
		}
	})
	return d
}

// TestConnections: the connections have the settings that make a commit durable. SQLite
// returns these settings only on the connection itself.
func TestConnections(t *testing.T) {
	d := openTest(t)
	for name, db := range map[string]querier{"writer": d.conn, "checkpointer": d.checkpointer.db} {
		for pragma, want := range map[string]int{"synchronous": 2, "wal_autocheckpoint": 0} {
			var got int
			if err := db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s: %s is %d, want %d (error %v)", name, pragma, got, want, err)
			}
		}
	}
}

// TestExpireSyncs: after a deletion the connection of the writer syncs its commits again.
func TestExpireSyncs(t *testing.T) {
	s := New(Options{File: filepath.Join(t.TempDir(), "mail.db"), Table: "new_mail"})
	defer s.Close()
	if _, err := s.Expire(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	var mode int
	if err := s.database.conn.QueryRowContext(t.Context(), "PRAGMA synchronous").Scan(&mode); err != nil || mode != 2 {
		t.Errorf("synchronous is %d, want 2 (error %v)", mode, err)
	}
}

// newWAL returns a WAL with two transactions, and the number of frames at the
// end of each.
func newWAL(t *testing.T) (wal []byte, first, second int) {
	t.Helper()
	d := openTest(t)
	commit := func(statement string) int {
		if err := d.exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		state, err := d.checkpointer.state(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return state.frames
	}
	first = commit("CREATE TABLE a (b)")
	second = commit("INSERT INTO a VALUES (zeroblob(100000))")
	wal, err := os.ReadFile(d.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	return wal, first, second
}

func TestRewriteWAL(t *testing.T) {
	wal, first, second := newWAL(t)
	const frame = frameHeaderSize + 16384
	end := func(frames int) int { return walHeaderSize + frames*frame }
	if first < 1 || second < first+6 {
		t.Fatalf("the transactions end after %d and %d frames, want at least 6 in the second", first, second)
	}
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte {
			b[at] ^= 1
			return b
		}
	}
	same := func(b []byte) []byte { return b }
	for _, tt := range []struct {
		name   string
		damage func([]byte) []byte
		frames int
		want   int // bytes of the WAL that rewriteWAL keeps
		err    error
	}{
		{"all frames", same, second, end(second), nil},
		{"second transaction cut off", same, first, end(first), nil},
		{"no frame", same, 0, 0, nil},
		{"bytes follow", func(b []byte) []byte { return append(b[:end(second)], "rest"...) }, second, end(second), nil},
		{"damage after the frames", flip(end(first) + 5), first, end(first), nil},
		{"half a transaction", same, second - 1, 0, errWALChanged},
		{"header", flip(17), second, 0, errWALChanged},
		{"header's checksum", flip(24), second, 0, errWALChanged},
		{"magic", flip(0), second, 0, errWALChanged},
		{"first byte of a frame", flip(walHeaderSize), second, 0, errWALChanged},
		{"commit mark", flip(end(second-1) + 7), second, 0, errWALChanged},
		{"salt", flip(end(1) + 8), second, 0, errWALChanged},
		{"checksum", flip(end(1) + 23), second, 0, errWALChanged},
		{"last byte of a page", flip(end(second) - 1), second, 0, errWALChanged},
		{"shorter than the header", func(b []byte) []byte { return b[:walHeaderSize-1] }, second, 0, errWALChanged},
		{"shorter by a byte", func(b []byte) []byte { return b[:end(second)-1] }, second, 0, errWALChanged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "wal")
			before := tt.damage(bytes.Clone(wal))
			if err := os.WriteFile(path, before, 0o600); err != nil {
				t.Fatal(err)
			}
			pages, err := rewriteWAL(t.Context(), path, tt.frames, 0)
			if !errors.Is(err, tt.err) {
				t.Fatalf("rewriteWAL returns %v, want %v", err, tt.err)
			}
			after, readErr := os.ReadFile(path)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if err == nil {
				if len(pages.offsets) != 0 {
					t.Errorf("rewriteWAL returns %d pages, want 0", len(pages.offsets))
				}
				before = append(before[:tt.want:tt.want], make([]byte, reservedWAL-tt.want)...)
			}
			if !bytes.Equal(after, before) {
				t.Errorf("the WAL has %d bytes, want %d, of which the first %d are unchanged", len(after), len(before), tt.want)
			}
		})
	}
	missing := filepath.Join(t.TempDir(), "wal")
	if _, err := rewriteWAL(t.Context(), missing, 0, 0); err != nil {
		t.Errorf("rewriteWAL without a WAL returns %v", err)
	}
	if _, err := rewriteWAL(t.Context(), missing, 1, 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("rewriteWAL of a frame without a WAL returns %v, want %v", err, os.ErrNotExist)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(t.TempDir(), "wal")
	if err := os.WriteFile(path, wal, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := rewriteWAL(canceled, path, second, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("rewriteWAL with a canceled context returns %v, want %v", err, context.Canceled)
	}
}

// TestCopiedPages: rewriteWAL returns the newest copied frame of each page,
// unless a later frame has the page.
func TestCopiedPages(t *testing.T) {
	wal, first, second := newWAL(t)
	const frame = frameHeaderSize + 16384
	newest := func(from, to int) map[uint32]int64 {
		pages := map[uint32]int64{}
		for n := from; n < to; n++ {
			at := walHeaderSize + n*frame
			pages[binary.BigEndian.Uint32(wal[at:])] = int64(at + frameHeaderSize)
		}
		return pages
	}
	for _, copied := range []int{0, 1, first, second - 1, second} {
		path := filepath.Join(t.TempDir(), "wal")
		if err := os.WriteFile(path, wal, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := rewriteWAL(t.Context(), path, second, copied)
		if err != nil {
			t.Fatal(err)
		}
		want := newest(0, copied)
		for page := range newest(copied, second) {
			delete(want, page)
		}
		if !maps.Equal(got.offsets, want) {
			t.Errorf("%d of %d frames copied: the offsets are %v, want %v", copied, second, got.offsets, want)
		}
		if got.size != 16384 {
			t.Errorf("%d of %d frames copied: the page size is %d, want 16384", copied, second, got.size)
		}
	}
}

// TestReservedWAL: commits do not extend the WAL.
func TestReservedWAL(t *testing.T) {
	d := openTest(t)
	for range 3 {
		if err := d.exec(t.Context(), "CREATE TABLE IF NOT EXISTS a AS SELECT zeroblob(1000000) b; UPDATE a SET b=zeroblob(1000001)"); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(d.path + "-wal"); err != nil {
			t.Fatal(err)
		} else if info.Size() != reservedWAL {
			t.Fatalf("the WAL has %d bytes, want %d", info.Size(), reservedWAL)
		}
	}
}

// FuzzRewriteWAL: rewriteWAL changes no byte of any file. It may cut off the end of the
// file, and append zeros.
func FuzzRewriteWAL(f *testing.F) {
	f.Add([]byte("\x37\x7f\x06\x82"), uint8(1))
	f.Add(make([]byte, walHeaderSize+frameHeaderSize+512), uint8(1))
	f.Fuzz(func(t *testing.T, wal []byte, frames uint8) {
		path := filepath.Join(t.TempDir(), "wal")
		if err := os.WriteFile(path, wal, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := rewriteWAL(t.Context(), path, int(frames), int(frames)/2)
		after, readErr := os.ReadFile(path)
		if readErr != nil {
			t.Fatal(readErr)
		}
		if err == nil {
			after = bytes.TrimRight(after, "\x00")
		}
		if !bytes.HasPrefix(wal, after) || err != nil && len(after) != len(wal) {
			t.Errorf("the WAL has %d bytes, want a prefix of the %d bytes before, or with an error all of them (error %v)", len(after), len(wal), err)
		}
	})
}
