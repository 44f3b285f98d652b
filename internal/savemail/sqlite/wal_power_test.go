package sqlite

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/test/powerfs"
)

// TestRewrittenWALIsDurable: rewriteWAL makes frames durable that a failed sync has
// lost, even on a full disk.
func TestRewrittenWALIsDurable(t *testing.T) {
	wal, _, frames := newWAL(t)
	wal = wal[:walHeaderSize+frames*(frameHeaderSize+16384)]
	for _, tt := range []struct {
		name string
		op   powerfs.Op // fails with ENOSPC
		nth  int        // from this call of op
	}{
		{"no fault", 0, 0},
		{"disk full", powerfs.Write, frames + 2}, // after the header and the frames
		{"disk full at the sync", powerfs.Sync, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			power := powerfs.New(t, powerfs.Options{Rand: rand.New(rand.NewPCG(1, 1))})
			path := filepath.Join(power.Dir, "wal")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.Write(wal); err != nil {
				t.Fatal(err)
			}
			power.Inject(powerfs.Fault{Op: powerfs.Sync, Count: 1, Errno: syscall.EIO, Lost: true})
			if err := f.Sync(); !errors.Is(err, syscall.EIO) {
				t.Fatalf("sync returns %v, want EIO", err)
			}
			if tt.op != 0 {
				power.Inject(powerfs.Fault{Op: tt.op, Nth: tt.nth, Errno: syscall.ENOSPC, Lost: true})
			}
			if _, err := rewriteWAL(t.Context(), path, frames, 0); err != nil {
				t.Fatal(err)
			}
			want := int64(len(wal))
			if tt.op == 0 {
				want = reservedWAL
			}
			if info, err := f.Stat(); err != nil {
				t.Error(err)
			} else if info.Size() != want {
				t.Errorf("the WAL has %d bytes, want %d", info.Size(), want)
			}
			power.ClearFaults()
			if err := savemail.SyncDir(power.Dir); err != nil {
				t.Fatal(err)
			}
			power.Cut(powerfs.Drop)
			power.Remount(t)
			if got, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(got, wal) {
				t.Errorf("the WAL has %d bytes after the power loss, want the %d written bytes (error %v)", len(got), len(wal), err)
			}
		})
	}
}

// TestReserveFails: rewriteWAL returns an error of reserveWAL, other than ENOSPC.
func TestReserveFails(t *testing.T) {
	wal, _, frames := newWAL(t)
	power := powerfs.New(t, powerfs.Options{Rand: rand.New(rand.NewPCG(1, 1))})
	path := filepath.Join(power.Dir, "wal")
	if err := os.WriteFile(path, wal, 0o600); err != nil {
		t.Fatal(err)
	}
	power.Inject(powerfs.Fault{Op: powerfs.Write, Nth: frames + 2, Errno: syscall.EIO})
	if _, err := rewriteWAL(t.Context(), path, frames, 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("error %v, want EIO", err)
	}
}
