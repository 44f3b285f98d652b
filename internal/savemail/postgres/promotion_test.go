package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/postgres"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/pgproxy"
	"goguerrillad/internal/test/servers"
	"goguerrillad/internal/test/storetest"
)

// startPair starts a primary and a standby, and returns the testbed of the primary.
func startPair(t *testing.T, synchronous bool) (*servers.PostgresReplication, *testbed) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts two PostgreSQLs")
	}
	r := servers.PostgresPair(t, synchronous)
	r.Primary.CreateTable(t, "new_mail")
	b := &testbed{parent: t, server: r.Primary, db: r.Primary.Connect(t), table: "new_mail", log: &test.Log{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", b.log)
		}
	})
	return r, b
}

// bothHosts makes a store use the primary of the pair.
func bothHosts(r *servers.PostgresReplication) func(*postgres.Options) {
	return func(o *postgres.Options) {
		o.DSN = r.Primary.DSN(r.Primary.Addr, r.Standby.Addr)
		o.Timeout = storetest.LoadTimeout
	}
}

// rowsOf returns the rows of a server.
func rowsOf(t *testing.T, s *servers.PostgresServer) []storetest.Row {
	t.Helper()
	return storetest.Select(t, s.Connect(t), "new_mail", `"`)
}

// TestPromotionSynchronous kills the primary under load and promotes the standby, for which
// each commit waits. No acknowledged message is lost, and none is stored twice.
func TestPromotionSynchronous(t *testing.T) {
	r, b := startPair(t, true)
	l := storetest.StartLoad(t, b.open(t, bothHosts(r)), b.options().Log)
	for range storetest.Repetitions(2, 20) {
		l.AwaitProgress(t, 100)
		r.FailOver(t)
		l.AwaitProgress(t, 100)
		r.Follow(t)
	}
	l.AwaitProgress(t, 100)
	r.Swap(t, func() {})
	l.AwaitProgress(t, 100)
	l.Stop(t)
	l.Verify(t, rowsOf(t, r.Primary))
}

// TestPromotionAsynchronous kills the primary while its standby, for which no commit waits, is
// behind. Only the old primary has some of the acknowledged messages. No message is stored
// twice.
func TestPromotionAsynchronous(t *testing.T) {
	missing := 0
	for range storetest.Repetitions(1, 20) {
		r, b := startPair(t, false)
		l := storetest.StartLoad(t, b.open(t, bothHosts(r)), b.options().Log)
		l.AwaitProgress(t, 100)
		r.AwaitReplicated(t)
		r.Standby.Pause(t)
		l.AwaitProgress(t, 50) // more than the buffers of the connection to the standby
		r.Primary.Kill()
		r.Standby.Continue(t)
		r.Promote(t)
		l.AwaitProgress(t, 100)
		l.Stop(t)
		all := rowsOf(t, r.Primary)
		stored := map[string]bool{}
		for _, row := range all {
			if stored[row.Hash] {
				t.Errorf("%s is stored twice", row.Hash)
			}
			stored[row.Hash] = true
		}
		r.Standby.Start(t) // the old primary, for its rows
		for _, row := range rowsOf(t, r.Standby) {
			if !stored[row.Hash] {
				missing++
				all = append(all, row)
			}
		}
		l.Verify(t, all)
	}
	t.Logf("the standbys lack %d rows of the old primaries", missing)
	if missing == 0 {
		t.Error("the standbys lack no row, want some")
	}
}

// testPgBouncer: the mode transaction works, also without a connection for each client, and
// the mode statement is refused.
func testPgBouncer(t *testing.T, b *testbed) {
	through := func(mode string, settings ...string) *postgres.Store {
		bouncer := servers.PgBouncer(t, b.server, mode, settings...)
		s := b.open(t, func(o *postgres.Options) {
			o.DSN = b.server.DSN(bouncer.Addr)
			o.Timeout = storetest.LoadTimeout
		})
		t.Cleanup(func() { s.Close() })
		return s
	}
	const want = "want pool_mode=transaction or session"
	if err := through("statement").Check(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("statement: %v, want %q", err, want)
	}
	for _, mode := range []string{"session", "transaction"} {
		l := storetest.StartLoad(t, through(mode, "default_pool_size=2", "server_login_retry=1"), b.options().Log)
		l.AwaitProgress(t, 100)
		b.terminate(t)
		l.AwaitProgress(t, 100)
		b.server.Kill()
		b.server.Start(b.parent)
		l.AwaitProgress(t, 100)
		l.Stop(t)
		test.Await(t, nil, 10*time.Second, "the server does not reply", b.db.Ping)
		l.Verify(t, b.rows(t))
	}
}

// TestPgBouncerMoves: PgBouncer continues connections on a promoted standby. A COMMIT there that
// never arrives is settled as one of the new primary: the transaction runs until the store
// terminates it.
func TestPgBouncerMoves(t *testing.T) {
	r, b := startPair(t, false)
	bouncer := servers.PgBouncer(t, r.Primary, "transaction", "server_login_retry=1")
	proxy := pgproxy.Start(t, bouncer.Addr)
	s := b.open(t, func(o *postgres.Options) { o.DSN = b.server.DSN(proxy.Addr) })
	t.Cleanup(func() { s.Close() })
	if _, err := save(t, s); err != nil {
		t.Fatal(err)
	}
	r.AwaitReplicated(t)
	r.FailOver(t)
	bouncer.Move(t, r.Standby, r.Primary)
	saved := 1
	test.Await(t, nil, 20*time.Second, "PgBouncer does not use the new primary", func() error {
		_, err := save(t, s)
		if err == nil {
			saved++
		}
		return err
	})
	_, err := save(t, s)
	if err != nil {
		t.Fatal(err)
	}
	happened := proxy.Once(isCommit, pgproxy.Fault{Request: 0, Hold: true})
	outcome := make(chan error)
	go func() {
		_, err := save(t, s)
		outcome <- err
	}()
	<-happened
	if err := <-outcome; err != nil {
		t.Errorf("the outcome is %v", err)
	}
	proxy.Release(true) // too late
	hashes := map[string]int{}
	test.Await(t, nil, 20*time.Second, "the transaction has not ended", func() error {
		var n int
		r.Primary.QueryRow(t, "SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL", &n)
		if n > 0 {
			return fmt.Errorf("%d transactions", n)
		}
		return nil
	})
	for _, row := range rowsOf(t, r.Primary) {
		if hashes[row.Hash]++; hashes[row.Hash] > 1 {
			t.Errorf("%s is stored twice", row.Hash)
		}
	}
	if len(hashes) != saved+2 {
		t.Errorf("%d messages, want %d", len(hashes), saved+2)
	}
}

// TestAnotherCluster: the host is another cluster when the store asks for an outcome. A session
// of the daemon's user there has a transaction with the same id, and continues.
func TestAnotherCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts two PostgreSQLs")
	}
	first, second := servers.Postgres(t), servers.Postgres(t)
	for _, server := range []*servers.PostgresServer{first, second} {
		server.CreateTable(t, "new_mail")
	}
	for range 20 { // the ids of the first cluster are ahead
		first.Exec(t, "SELECT pg_current_xact_id()")
	}
	proxy := pgproxy.Start(t, first.Addr)
	b := &testbed{parent: t, server: first, db: first.Connect(t), table: "new_mail", log: &test.Log{}}
	s := b.open(t, func(o *postgres.Options) { o.DSN, o.Timeout = first.DSN(proxy.Addr), storetest.LoadTimeout })
	t.Cleanup(func() { s.Close() })
	other, err := second.ConnectUser(t).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	exec := func(statement string) {
		if _, err := other.ExecContext(t.Context(), statement); err != nil {
			t.Errorf("another cluster: %s: %v", statement, err)
		}
	}
	moved := false
	proxy.Arm(func(r pgproxy.Request) *pgproxy.Fault {
		if moved || !isCommit(r) {
			return nil
		}
		moved = true
		var want, got string
		first.QueryRow(t, "SELECT backend_xid FROM pg_stat_activity WHERE backend_xid IS NOT NULL", &want)
		for range 1000 {
			exec("BEGIN")
			if err := other.QueryRowContext(t.Context(), "SELECT pg_current_xact_id()").Scan(&got); err != nil {
				t.Error(err)
			}
			if got == want {
				break
			}
			exec("ROLLBACK")
		}
		if got != want {
			t.Errorf("another cluster: the id is %s, want %s", got, want)
		}
		proxy.Move(second.Addr)
		return &pgproxy.Fault{}
	})
	if _, err := save(t, s); !errors.Is(err, savemail.ErrUnknown) || !moved {
		t.Errorf("the outcome is %v, want %v", err, savemail.ErrUnknown)
	}
	exec("COMMIT")
}
