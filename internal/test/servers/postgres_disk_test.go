package servers_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/powerfs"
	"goguerrillad/internal/test/servers"
)

// TestPostgresDisk: a full disk refuses rows, and a failed disk ends the server. All
// committed rows are there when the disk is repaired.
func TestPostgresDisk(t *testing.T) {
	needServers(t)
	disk := servers.NewDisk(t, 200)
	s := servers.PostgresIn(t, disk.Dir, "max_wal_size=64MB")
	s.CreateTable(t, "new_mail")
	db := s.ConnectUser(t)
	exec(t, db, insert, "before")
	disk.Fill(t)
	n := 1
	for range 100_000 {
		if _, err := db.Exec(insert, "full"); err != nil {
			t.Logf("%d rows: %v", n, err)
			break
		}
		n++
	}
	disk.Empty(t)
	if s.Ended() {
		s.Start(t)
	}
	test.Await(t, nil, serverTime, "insert a row", func() error {
		_, err := db.Exec(insert, "empty")
		return err
	})
	disk.Fail(t)
	if _, err := db.Exec(insert, "failed"); err == nil {
		t.Error("a read-only disk accepts rows")
	}
	s.Kill()
	disk.Repair(t)
	s.Start(t)
	if got := rows(t, s); got != n+1 {
		t.Errorf("%d rows, want %d", got, n+1)
	}
}

// TestPostgresPower: committed rows survive a power loss.
func TestPostgresPower(t *testing.T) {
	needServers(t)
	seed := test.Seed(t)
	fs := powerfs.New(t, powerfs.Options{Names: powerfs.Journaled, Rand: rand.New(rand.NewPCG(seed, 0))})
	dir := test.PublicDir(t)
	if err := os.Symlink(fs.Dir, filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	s := servers.PostgresIn(t, dir)
	s.CreateTable(t, "new_mail")
	s.Stop()
	fs.DropCaches() // initdb does not sync
	s.Start(t)
	db := s.ConnectUser(t)
	for n := 1; n <= 5; n++ {
		exec(t, db, insert, "power")
		fs.Cut(powerfs.Drop)
		s.Kill()
		fs.Remount(t)
		s.Start(t)
		if got := rows(t, s); got != n {
			t.Errorf("%d rows, want %d", got, n)
		}
	}
}
