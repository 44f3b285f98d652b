package postgres_test

import (
	"database/sql"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/postgres"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
	"goguerrillad/internal/test/storetest"
)

// A testbed is a server that several tests share, and the table of a single test.
type testbed struct {
	parent *testing.T // the test that owns the server
	server *servers.PostgresServer
	db     *sql.DB
	table  string
	log    *test.Log
}

func TestPostgres(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a PostgreSQL")
	}
	server := servers.Postgres(t)
	parent, db, tables := t, server.Connect(t), 0
	with := func(run func(*testing.T, *testbed)) func(*testing.T) {
		return func(t *testing.T) {
			tables++
			b := &testbed{parent: parent, server: server, db: db, table: fmt.Sprintf("new_mail_%d", tables), log: &test.Log{}}
			server.CreateTable(t, b.table)
			run(t, b)
		}
	}
	suite := func(adapt func(*testbed, *postgres.Options)) func(*testing.T) {
		return func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) (h storetest.Harness) {
				with(func(t *testing.T, b *testbed) { h = b.harness(t, func(o *postgres.Options) { adapt(b, o) }) })(t)
				return h
			})
		}
	}
	t.Run("plain", suite(func(*testbed, *postgres.Options) {}))
	t.Run("compressed", suite(func(_ *testbed, o *postgres.Options) { o.Compress = true }))
	for _, f := range faults() {
		t.Run(f.name, with(testFaults(f)))
	}
	t.Run("columns", with(testColumns))
	t.Run("column changes", with(testColumnChanges))
	t.Run("rejected", with(testRejected))
	t.Run("skipped", with(testSkipped))
	t.Run("session attributes", with(testSessionAttrs))
	t.Run("rejected at COMMIT", with(testRejectedCommit))
	t.Run("hidden error", with(testHiddenError))
	t.Run("encoding", with(testEncoding))
	t.Run("rule", with(testRule))
	t.Run("rights", with(testRights))
	t.Run("unlogged", with(testUnlogged))
	t.Run("formats", with(testFormats))
	t.Run("statements closed", with(testDeallocated))
	t.Run("expire, locked rows", with(testExpireLocked))
	t.Run("expire, daemons", with(testExpireDaemons))
	t.Run("expire, time zone", with(testExpireZone))
	t.Run("expire, impossible", with(testExpireImpossible))
	t.Run("cuts", with(testCuts))
	t.Run("malformed", with(testMalformed))
	t.Run("row deleted", with(testDeleted))
	t.Run("row deleted after a crash", with(testDeletedAndCrashed))
	t.Run("warning of the login", with(testWarningOfLogin))
	t.Run("error of a pooler", with(testPoolerError))
	t.Run("COMMIT not delivered", with(testUndelivered))
	t.Run("no standby", with(testNoStandby))
	t.Run("canceled wait", with(testCanceledWait))
	t.Run("weak commit", with(testWeakCommit))
	t.Run("PgBouncer", with(testPgBouncer))
	t.Run("cuts under load", with(testCutsUnderLoad))
	t.Run("schema in the table's name", suite(func(b *testbed, o *postgres.Options) { o.Table = "public." + b.table }))
}

func (b *testbed) options() postgres.Options {
	return postgres.Options{
		DSN: b.server.DSN(), Table: b.table, Timeout: 30 * time.Second,
		Log: slog.New(slog.NewTextHandler(b.log, nil)),
	}
}

func (b *testbed) open(t *testing.T, adapt func(*postgres.Options)) *postgres.Store {
	t.Helper()
	o := b.options()
	if adapt != nil {
		adapt(&o)
	}
	s, err := postgres.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *testbed) harness(t *testing.T, adapt func(*postgres.Options)) storetest.Harness {
	o := b.options()
	adapt(&o)
	b.server.Exec(t, "GRANT DELETE ON "+b.table+" TO "+b.server.User)
	return storetest.Harness{
		Store:  b.open(t, adapt),
		Rows:   b.rows,
		Reopen: func(t *testing.T) savemail.Store { return b.open(t, adapt) },
		Reader: func(t *testing.T) savemail.Reader {
			r, err := postgres.NewReader(o)
			if err != nil {
				t.Fatal(err)
			}
			return r
		},
		SetDate: func(t *testing.T, hash string, date time.Time) {
			if _, err := b.db.Exec("UPDATE "+b.table+" SET date=$1 WHERE hash=$2", date, hash); err != nil {
				t.Fatal(err)
			}
		},
		Compressed: o.Compress,
	}
}

func (b *testbed) rows(t *testing.T) []storetest.Row {
	t.Helper()
	return storetest.Select(t, b.db, b.table, `"`)
}
