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
	"goguerrillad/internal/testserver/powerfs"
)

// TestRewrittenWALIsDurable: what a failed sync has lost is durable after it was
// written again.
func TestRewrittenWALIsDurable(t *testing.T) {
	wal, _, frames := newWAL(t)
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
	if _, err := rewriteWAL(t.Context(), path, frames, 0); err != nil {
		t.Fatal(err)
	}
	if err := savemail.SyncDir(power.Dir); err != nil {
		t.Fatal(err)
	}
	power.Cut(powerfs.Drop)
	power.Remount(t)
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, wal) {
		t.Errorf("%d bytes are left, not the %d that were written (%v)", len(got), len(wal), err)
	}
}
