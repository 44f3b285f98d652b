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

// TestRewrittenWALIsDurable: what a failed sync has lost is durable after it was
// written again, also on a full disk.
func TestRewrittenWALIsDurable(t *testing.T) {
	wal, _, frames := newWAL(t)
	wal = wal[:walHeaderSize+frames*(frameHeaderSize+16384)]
	for _, tt := range []struct {
		name string
		op   powerfs.Op // that finds the disk full
		nth  int
	}{
		{"all goes well", 0, 0},
		{"disk full", powerfs.Write, frames + 2}, // the header and the frames come before
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
				t.Fatalf("sync: %v", err)
			}
			if tt.op != 0 {
				power.Inject(powerfs.Fault{Op: tt.op, Nth: tt.nth, Errno: syscall.ENOSPC, Lost: true})
			}
			if _, err := rewriteWAL(t.Context(), path, frames, 0); err != nil {
				t.Fatal(err)
			}
			if info, err := f.Stat(); err != nil || tt.op == 0 && info.Size() != reservedWAL || tt.op != 0 && info.Size() != int64(len(wal)) {
				t.Errorf("the WAL has %d bytes (%v)", info.Size(), err)
			}
			power.Heal()
			if err := savemail.SyncDir(power.Dir); err != nil {
				t.Fatal(err)
			}
			power.Cut(powerfs.Drop)
			power.Remount(t)
			if got, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(got, wal) {
				t.Errorf("%d bytes are left, not the %d that were written (%v)", len(got), len(wal), err)
			}
		})
	}
}

// TestReserveFails: another error than that of a full disk is one.
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
