package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/postgres"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/pgproxy"
	"goguerrillad/internal/test/storetest"
)

var isCommit = statements["COMMIT"]

// testDeleted: a consumer deletes the row before the server is asked. The transaction is
// committed, so the message is acknowledged and not stored again.
func testDeleted(t *testing.T, b *testbed) {
	s, proxy := b.through(t)
	e, err := save(t, s)
	if err != nil {
		t.Fatal(err)
	}
	proxy.Arm(func(r pgproxy.Request) *pgproxy.Fault {
		switch {
		case isCommit(r):
			return &pgproxy.Fault{Request: pgproxy.All, Response: 0, Delay: 10 * time.Millisecond}
		case pgproxy.Executes("EXISTS")(r):
			b.server.Exec(t, "DELETE FROM "+b.table+" WHERE hash<>'"+e.To[0].Hash+"'")
		}
		return nil
	})
	if _, err := save(t, s); err != nil {
		t.Error(err)
	}
	proxy.Arm(nil)
	if n := len(b.rows(t)); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

// testDeletedAndCrashed: a process of the server crashes before the server is asked, and the row
// is deleted. After the recovery the id may belong to another transaction, so nothing proves that
// the message is stored.
func testDeletedAndCrashed(t *testing.T, b *testbed) {
	proxy := pgproxy.Start(t, b.server.Addr)
	s := b.open(t, func(o *postgres.Options) { o.DSN, o.Timeout = b.server.DSN(proxy.Addr), 24*time.Second })
	t.Cleanup(func() { s.Close() })
	if _, err := save(t, s); err != nil {
		t.Fatal(err)
	}
	sent, crashed := false, false
	proxy.Arm(func(r pgproxy.Request) *pgproxy.Fault {
		switch {
		case isCommit(r) && !sent:
			sent = true
			return &pgproxy.Fault{Request: pgproxy.All, Response: 0}
		case sent && !crashed && pgproxy.Executes("EXISTS")(r):
			b.server.Exec(t, "DELETE FROM "+b.table)
			b.crashSession(t)
			crashed = true
		}
		return nil
	})
	if _, err := save(t, s); !errors.Is(err, savemail.ErrUnknown) || !crashed {
		t.Errorf("the outcome is %v, want %v", err, savemail.ErrUnknown)
	}
	proxy.Arm(nil)
	test.Await(t, nil, 10*time.Second, "the server does not reply", b.db.Ping)
}

// testWarningOfLogin: the server warns at each login, as after an upgrade of its C library. Such
// a warning is not about a commit.
func testWarningOfLogin(t *testing.T, b *testbed) {
	b.server.Exec(t, "UPDATE pg_database SET datcollversion='old' WHERE datname='"+b.server.DB+"'")
	defer b.server.Exec(t, "UPDATE pg_database SET datcollversion=NULL WHERE datname='"+b.server.DB+"'")
	s, proxy := b.through(t)
	happened := proxy.Once(isCommit, pgproxy.Fault{Request: pgproxy.All, Response: 0})
	if _, err := save(t, s); err != nil {
		t.Error(err)
	}
	<-happened
	if n := len(b.rows(t)); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

// testPoolerError: a connection pooler that has lost the server reports an error in place of the
// outcome of a COMMIT.
func testPoolerError(t *testing.T, b *testbed) {
	s, proxy := b.through(t)
	happened := proxy.Once(isCommit, pgproxy.Fault{Request: pgproxy.All, Response: 0, Change: func([]byte) []byte {
		text, err := (&pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "08006", Message: "lost"}).Encode(nil)
		if err != nil {
			t.Error(err)
		}
		return text
	}})
	if _, err := save(t, s); err != nil {
		t.Error(err)
	}
	<-happened
	if n := len(b.rows(t)); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

// testUndelivered: the COMMIT never arrives, and the server does not notice that the client is
// gone. The store terminates the session, and stores the message by another transaction.
func testUndelivered(t *testing.T, b *testbed) {
	s, proxy := b.through(t)
	if _, err := save(t, s); err != nil {
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
		t.Errorf("the outcome is %v\n%s", err, b.log)
	}
	proxy.Release(true) // too late
	if n := len(b.rows(t)); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

// testNoStandby: while no synchronous standby confirms a commit, it is neither acknowledged nor
// stored again. The log has its outcome later.
func testNoStandby(t *testing.T, b *testbed) {
	s := b.open(t, func(o *postgres.Options) { o.Timeout = 3 * time.Second })
	t.Cleanup(func() { s.Close() })
	if _, err := save(t, s); err != nil {
		t.Fatal(err)
	}
	b.server.Set(t, "synchronous_standby_names=missing")
	defer b.server.Set(t, "synchronous_standby_names=")
	test.Await(t, nil, 20*time.Second, "the server does not wait for a standby", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		err := s.Save(ctx, []*envelope.Envelope{storetest.Envelope(text, "b@example.com")})[0]
		if errors.Is(err, savemail.ErrUnknown) {
			return nil
		}
		return errors.New("no unknown outcome")
	})
	b.server.Set(t, "synchronous_standby_names=")
	test.Await(t, nil, 20*time.Second, "the outcome is not logged", func() error {
		if !strings.Contains(b.log.String(), "messages with unknown outcome were stored") {
			return errors.New(b.log.String())
		}
		return nil
	})
}

// testCanceledWait: an administrator cancels every wait for a standby. The server reports each
// commit as successful, with a warning that the user's settings hide, and with these settings
// no commit would wait. The message is not acknowledged.
func testCanceledWait(t *testing.T, b *testbed) {
	b.server.Exec(t, "ALTER ROLE "+b.server.User+" SET client_min_messages=error", "ALTER ROLE "+b.server.User+" SET synchronous_commit=off")
	defer b.server.Exec(t, "ALTER ROLE "+b.server.User+" RESET ALL")
	s := b.open(t, func(o *postgres.Options) { o.Timeout = 3 * time.Second })
	t.Cleanup(func() { s.Close() })
	if _, err := save(t, s); err != nil {
		t.Fatal(err)
	}
	b.server.Set(t, "synchronous_standby_names=missing")
	defer b.server.Set(t, "synchronous_standby_names=")
	b.awaitStandbys(t)
	outcome := make(chan error, 1)
	go func() {
		_, err := save(t, s)
		outcome <- err
	}()
	canceled := 0
	test.Await(t, nil, 20*time.Second, "no outcome", func() error {
		var n int
		err := b.db.QueryRow("SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event='SyncRep' AND application_name='goguerrillad'").Scan(&n)
		if canceled += n; err != nil {
			return err
		}
		select {
		case err := <-outcome:
			if !errors.Is(err, savemail.ErrUnknown) {
				t.Errorf("the outcome is %v, want %v", err, savemail.ErrUnknown)
			}
			return nil
		default:
			return errors.New("no outcome")
		}
	})
	if canceled < 2 {
		t.Errorf("%d waits canceled, want 2 or more", canceled)
	}
}

// awaitStandbys waits until a commit waits for the missing standby. A process of the server
// applies the setting some time after the reload.
func (b *testbed) awaitStandbys(t *testing.T) {
	t.Helper()
	test.Await(t, nil, 20*time.Second, "the server does not wait for a standby", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := b.db.ExecContext(ctx, "SELECT pg_logical_emit_message(true, 'test', '')")
		if err == nil {
			return errors.New("a commit has not waited")
		}
		return nil
	})
}

// testWeakCommit: the store warns of settings that weaken durability, and replaces
// synchronous_commit=off and client_min_messages=error, also while it is connected.
func testWeakCommit(t *testing.T, b *testbed) {
	b.server.Exec(t, "CREATE TABLE used (value text)",
		"CREATE FUNCTION note() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS 'BEGIN INSERT INTO used VALUES (concat(current_setting(''synchronous_commit''), '','', current_setting(''client_min_messages''))); RETURN NULL; END'",
		"CREATE CONSTRAINT TRIGGER note AFTER INSERT ON "+b.table+" INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note()")
	used := func(value string) string {
		b.server.Set(t, "synchronous_commit="+value, "client_min_messages=notice")
		s := b.open(t, nil)
		defer s.Close()
		b.one(t, s, storetest.Envelope(text, "b@example.com"))
		b.server.Set(t, "synchronous_commit=off", "client_min_messages=error")
		b.one(t, s, storetest.Envelope(text, "b@example.com"))
		var values string
		b.server.QueryRow(t, "WITH old AS (DELETE FROM used RETURNING value) SELECT string_agg(value, ' ') FROM old", &values)
		return values
	}
	for value, want := range map[string]string{
		"on": "on,notice on,warning", "remote_apply": "remote_apply,notice on,warning", "off": "on,notice on,warning",
	} {
		if got := used(value); got != want {
			t.Errorf("after %s: commits with %s, want %s", value, got, want)
		}
	}
	b.server.Set(t, "synchronous_commit=on", "client_min_messages=notice")
	if log := b.log.String(); !strings.Contains(log, "PostgreSQL setting weakens durability") || !strings.Contains(log, "value=off safe=on") {
		t.Errorf("the log is %s", log)
	}
}
