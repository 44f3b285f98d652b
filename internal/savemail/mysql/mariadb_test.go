package mysql_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
	"goguerrillad/internal/test/storetest"
)

const text = "Subject: hello\r\n\r\nbody\r\n"

// A testbed is a server that several tests share, and the table of a single test.
type testbed struct {
	parent *testing.T // the test that owns the server
	server *servers.MariaDBServer
	db     *sql.DB
	table  string
	log    *test.Log

	maxSize int // storetest.Harness.MaxSize
}

func TestMariaDB(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a MariaDB")
	}
	cert, key := certificate(t)
	t.Setenv("SSL_CERT_FILE", cert) // the system's roots, for TLS "Y"
	server := servers.MariaDB(t, "--ssl-cert="+cert, "--ssl-key="+key)
	with, suite := testbeds(t, server)
	nothing := func(*testing.T, *testbed) {}
	plain := func(*testbed, *mysql.Options) {}

	t.Run("strict", suite(nothing, plain))
	t.Run("lax", suite(func(t *testing.T, b *testbed) {
		b.global(t, "sql_mode", "", "DEFAULT")
	}, plain))
	t.Run("ANSI_QUOTES", suite(func(t *testing.T, b *testbed) {
		b.global(t, "sql_mode", "ANSI,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES,NO_ZERO_DATE", "DEFAULT")
	}, plain))
	t.Run("compressed over TCP", suite(nothing, func(b *testbed, o *mysql.Options) {
		o.Compress, o.Hosts = true, []string{b.server.Addr}
	}))
	for i, table := range storetest.Tables(t)[1:] {
		compress := i%2 == 1 // also the table of processor sql and the minimal table
		t.Run(fmt.Sprintf("%s, compressed %v", table.Name, compress), suite(func(t *testing.T, b *testbed) { b.replace(t, table) },
			func(_ *testbed, o *mysql.Options) { o.Compress = compress }))
	}
	t.Run("database in the table's name, small packets", suite(func(t *testing.T, b *testbed) {
		b.global(t, "autocommit", "0", "1")
		b.global(t, "max_allowed_packet", "17825792", "16777216")
	}, func(b *testbed, o *mysql.Options) { o.Table, o.DB = "mail."+b.table, "" }))

	t.Run("column sizes", with(testColumnSizes))
	t.Run("character sets", with(testCharsets))
	t.Run("character sets, examples", with(testCharsetExamples))
	t.Run("rejected envelopes", with(testRejectedEnvelopes))
	t.Run("transaction", with(testTransaction))
	t.Run("data error", with(testDataError))
	t.Run("column changes", with(testColumnChanges))
	t.Run("column types", with(testColumnTypes))
	t.Run("type changes", with(testTypeChanges))
	t.Run("column widens", with(testColumnWidens))
	t.Run("column lengthens", with(testColumnLengthens))
	t.Run("generated columns", with(testGenerated))
	t.Run("missing table", with(testMissingTable))
	t.Run("wrong password", with(testWrongPassword))
	t.Run("rights", with(testRights))
	t.Run("operator's columns", with(testOperatorsColumns))
	t.Run("no mail_id left", with(testNoMailIDLeft))
	t.Run("TLS", with(testTLS))
	t.Run("packet too small", with(testPacket))
	t.Run("read only", with(testReadOnly))
	t.Run("warnings", with(testWarnings))
	t.Run("narrow table", with(testNarrow))
	t.Run("lock timeout", with(testLockTimeout))
	t.Run("killed connection", with(testKilledConnection))
	t.Run("paused", with(testPaused))
	for _, f := range faults() {
		t.Run(f.name, with(testFaults(f)))
	}
	t.Run("lost COMMIT", with(testLostCommit))
	t.Run("lost, waited for", with(testLostWaits))
	t.Run("lost, killed", with(testLostKilled))
	t.Run("lost, unknown", with(testLostUnknown))
	t.Run("consumer, too early", with(testConsumerEarly))
	t.Run("consumer, by the rule", with(testConsumerRule))
	t.Run("lost, another server", with(testOtherServer))
	t.Run("cuts", with(testCuts))
	t.Run("leaks", with(testLeaks))
	t.Run("unhealthy host", with(testUnhealthyHost))
	t.Run("only host", with(testOnlyHost))
	t.Run("spread", with(testSpread))
	t.Run("expire, dates", with(testExpireDates))
	t.Run("expire, same key", with(testExpireSameKey))
	t.Run("expire, time zone", with(testExpireZone))
	t.Run("expire, in Redis", with(testExpireRedis))
	t.Run("expire, daemons", with(testExpireDaemons))
	t.Run("expire, locked row", with(testExpireLocked))
	t.Run("expire, impossible", with(testExpireImpossible))
	t.Run("recipients", with(testRecipients))
	t.Run("recipients, several hosts", with(testRecipientsHosts))
	if servers.MySQL {
		t.Run("caching_sha2_password", func(t *testing.T) { testCachingSHA2Password(t, cert, key) })
	}
}

// testbeds returns two functions that give each test its own table on the server:
// with is for a single test, suite is for the tests that all stores share.
func testbeds(parent *testing.T, server *servers.MariaDBServer) (
	with func(run func(*testing.T, *testbed)) func(*testing.T),
	suite func(prepare func(*testing.T, *testbed), adapt func(*testbed, *mysql.Options)) func(*testing.T),
) {
	db, tables := server.Connect(parent), 0
	with = func(run func(*testing.T, *testbed)) func(*testing.T) {
		return func(t *testing.T) {
			tables++
			b := &testbed{parent: parent, server: server, db: db, table: fmt.Sprintf("new_mail_%d", tables), log: &test.Log{}}
			run(t, b)
		}
	}
	suite = func(prepare func(*testing.T, *testbed), adapt func(*testbed, *mysql.Options)) func(*testing.T) {
		return func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Harness {
				var h storetest.Harness
				with(func(t *testing.T, b *testbed) {
					b.create(t)
					prepare(t, b)
					h = b.harness(t, func(o *mysql.Options) {
						o.Timeout = time.Minute // no server hangs, and the machine may be busy
						adapt(b, o)
					})
				})(t)
				return h
			})
		}
	}
	return with, suite
}

// create creates the table with the unchanged schema.
func (b *testbed) create(t *testing.T) {
	t.Helper()
	b.server.CreateTable2012(t, b.table)
}

// replace replaces the table.
func (b *testbed) replace(t *testing.T, table storetest.Table) {
	t.Helper()
	b.server.Exec(t, "DROP TABLE mail."+b.table, table.MySQL("mail."+b.table))
}

// global sets a variable for new connections until the end of the test.
func (b *testbed) global(t *testing.T, name, value, after string) {
	t.Helper()
	set := func(v string) {
		if name == "sql_mode" && v != "DEFAULT" {
			v = "'" + v + "'"
		}
		b.server.Exec(t, "SET GLOBAL "+name+"="+v)
	}
	set(value)
	t.Cleanup(func() { set(after) })
}

func (b *testbed) options() mysql.Options {
	return mysql.Options{
		Hosts: []string{b.server.Socket}, User: b.server.User, Pass: b.server.Pass, DB: b.server.DB,
		Table: b.table, Timeout: 9 * time.Second,
		Log: slog.New(slog.NewTextHandler(b.log, nil)),
	}
}

func (b *testbed) open(t *testing.T, adapt func(*mysql.Options)) *mysql.Store {
	t.Helper()
	o := b.options()
	if adapt != nil {
		adapt(&o)
	}
	s, err := mysql.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *testbed) harness(t *testing.T, adapt func(*mysql.Options)) storetest.Harness {
	o := b.options()
	adapt(&o)
	b.server.GrantDelete(t, b.table)
	var setDate func(t *testing.T, hash string, date time.Time)
	cannot := "needs the column date"
	if rows, err := b.db.Query("SELECT `date` FROM " + b.table); err == nil {
		rows.Close()
		setDate, cannot = b.setDate, ""
	}
	return storetest.Harness{
		Store:  b.open(t, adapt),
		Rows:   b.rows,
		Reopen: func(t *testing.T) savemail.Store { return b.open(t, adapt) },
		Reader: func(t *testing.T) savemail.Reader {
			r, err := mysql.NewReader(o)
			if err != nil {
				t.Fatal(err)
			}
			return r
		},
		Compressed: o.Compress,
		MaxSize:    b.maxSize,

		SetDate: setDate, CannotExpire: cannot,
	}
}

// setDate sets the date of a row.
func (b *testbed) setDate(t *testing.T, hash string, date time.Time) {
	t.Helper()
	if _, err := b.db.Exec("UPDATE "+b.table+" SET `date`=FROM_UNIXTIME(?) WHERE `hash`=?", date.Unix(), hash); err != nil {
		t.Fatal(err)
	}
}

func (b *testbed) rows(t *testing.T) []storetest.Row {
	t.Helper()
	return storetest.Select(t, b.db, b.table, "`")
}

// save saves one message for each address and returns the outcomes.
func save(t *testing.T, s savemail.Store, addresses ...string) []error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var batch []*envelope.Envelope
	for _, a := range addresses {
		batch = append(batch, storetest.Envelope(text, a))
	}
	return s.Save(ctx, batch)
}
