package servers

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"goguerrillad/internal/test"
)

// A PostgresReplication is a primary and its standby, which accepts read-only queries.
type PostgresReplication struct {
	Primary, Standby *PostgresServer

	synchronous bool
}

// standbyName is the application_name of the standby, for synchronous_standby_names.
const standbyName = "standby"

// PostgresPair starts a primary and a standby by streaming replication, with settings for
// both. If synchronous is true, a commit waits for the standby (synchronous_standby_names).
func PostgresPair(t test.T, synchronous bool, settings ...string) *PostgresReplication {
	t.Helper()
	test.Need(t, "pg_basebackup")
	r := &PostgresReplication{Primary: Postgres(t, settings...), synchronous: synchronous}
	r.Standby = newPostgres(t, test.ShortDir(t))
	r.Standby.own(t)
	r.Follow(t)
	return r
}

// Follow makes the standby, which must not be running, a new copy of the primary.
func (r *PostgresReplication) Follow(t test.T) {
	t.Helper()
	s := r.Standby
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatalf("remove the data of the standby: %v", err)
	}
	s.own(t)
	s.run(t, "pg_basebackup", "-D", s.dir, "-h", r.Primary.Socket, "-p", r.Primary.Port(), "-U", "postgres",
		"--checkpoint=fast", "--no-sync")
	r.follow(t)
}

// follow starts the standby with the data of the primary.
func (r *PostgresReplication) follow(t test.T) {
	t.Helper()
	s := r.Standby
	s.configure(t, []string{fmt.Sprintf("primary_conninfo='host=%s port=%s user=postgres application_name=%s'",
		r.Primary.Socket, r.Primary.Port(), standbyName)})
	file, err := os.OpenFile(filepath.Join(s.dir, "standby.signal"), os.O_CREATE, 0o644)
	if err != nil {
		t.Fatalf("make a standby: %v", err)
	}
	file.Close()
	s.Start(t)
	r.AwaitReplicated(t)
	if !r.synchronous {
		return
	}
	// Without a standby, the commits that make the roles would have waited for it.
	r.Primary.Set(t, "synchronous_standby_names="+standbyName)
	r.awaitSynchronous(t)
}

// awaitSynchronous waits until a commit waits for the standby. A process of the primary
// applies the setting some time after the reload.
func (r *PostgresReplication) awaitSynchronous(t test.T) {
	t.Helper()
	db, state := r.Primary.Connect(t), r.Primary.Connect(t)
	r.Standby.Pause(t)
	defer r.Standby.Continue(t)
	done := make(chan error, 1)
	commit := func() {
		_, err := db.Exec("SELECT pg_logical_emit_message(true, 'test', '')")
		done <- err
	}
	go commit()
	test.Await(t, r.Primary.process, serverStart, "wait for a synchronous commit", func() error {
		select {
		case err := <-done: // it has not waited
			if err != nil {
				t.Fatalf("%v", err)
			}
			go commit()
		default:
		}
		var n int
		if err := state.QueryRow("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").Scan(&n); err != nil || n == 0 {
			return fmt.Errorf("%d commits wait, error %v", n, err)
		}
		return nil
	})
	r.Standby.Continue(t)
	if err := <-done; err != nil {
		t.Fatalf("%v", err)
	}
}

// AwaitReplicated waits until the standby has replayed what the primary has written.
func (r *PostgresReplication) AwaitReplicated(t test.T) {
	t.Helper()
	var written string
	r.Primary.QueryRow(t, "SELECT pg_current_wal_flush_lsn()", &written)
	r.Standby.awaitReplay(t, written)
}

func (s *PostgresServer) awaitReplay(t test.T, position string) {
	t.Helper()
	test.Await(t, s.process, serverStart, "wait for the standby", func() error {
		var replayed bool
		s.QueryRow(t, "SELECT coalesce(pg_last_wal_replay_lsn() >= '"+position+"', false)", &replayed)
		if !replayed {
			return fmt.Errorf("%s is not replayed", position)
		}
		return nil
	})
}

// Promote makes the standby a primary without a standby, and waits until it accepts writes.
// The old primary, now Standby, continues if it is running.
func (r *PostgresReplication) Promote(t test.T) {
	t.Helper()
	if r.synchronous {
		r.Standby.Set(t, "synchronous_standby_names=")
	}
	var promoted bool
	r.Standby.QueryRow(t, fmt.Sprintf("SELECT pg_promote(wait_seconds => %d)", serverStart/time.Second), &promoted)
	if !promoted {
		t.Fatalf("the standby is not promoted\n%s", r.Standby.Output())
	}
	r.Primary, r.Standby = r.Standby, r.Primary
}

// FailOver kills the primary and promotes the standby.
func (r *PostgresReplication) FailOver(t test.T) {
	t.Helper()
	r.Primary.Kill()
	r.Promote(t)
}

// Swap exchanges the roles: it stops the primary, which then sends all transactions,
// promotes the standby, and starts the old primary as its standby. It calls between when no
// server is a primary.
func (r *PostgresReplication) Swap(t test.T, between func()) {
	t.Helper()
	if err := r.Primary.Stop(); err != nil {
		t.Fatalf("stop the primary: %v\n%s", err, r.Primary.Output())
	}
	between()
	r.Promote(t)
	r.follow(t)
}
