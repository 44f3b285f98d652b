//go:build tidb

package mysql_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test/servers"
	"goguerrillad/internal/test/storetest"
)

// TestTiDB runs the tests of TestMariaDB that apply to TiDB. make test-tidb runs
// it.
func TestTiDB(t *testing.T) {
	server := servers.TiDB(t)
	with, suite := testbeds(t, server)
	small := func(_ *testing.T, b *testbed) { b.maxSize = 5 << 20 } // a row has at most 6 MiB
	plain := func(*testbed, *mysql.Options) {}
	tcp := func(b *testbed, o *mysql.Options) { o.Hosts = []string{b.server.Addr} }

	t.Run("strict", suite(small, plain))
	t.Run("lax", suite(func(t *testing.T, b *testbed) {
		small(t, b)
		b.global(t, "sql_mode", "", "DEFAULT")
	}, tcp))
	t.Run("compressed over TCP", suite(small, func(b *testbed, o *mysql.Options) {
		o.Compress, o.Hosts = true, []string{b.server.Addr}
	}))
	for _, table := range storetest.Tables(t)[1:] {
		t.Run(table.Name, suite(func(t *testing.T, b *testbed) {
			small(t, b)
			b.replace(t, table)
		}, plain))
	}
	t.Run("rejected envelopes", with(testRejectedEnvelopes))
	t.Run("character sets", with(testCharsets))
	t.Run("rights", with(testRights))
	t.Run("settings", with(testSettings))
	t.Run("column changes", with(testColumnChanges))
	t.Run("column lengthens", with(testColumnLengthens))
	t.Run("missing table", with(testMissingTable))
	t.Run("killed connection", with(testKilledConnection))
	t.Run("paused", with(testPaused))
	for _, f := range faults() {
		if slices.Contains([]string{"killed", "restarted", "stopped", "sessions killed", "statements killed"}, f.name) {
			t.Run(f.name, with(testFaults(f)))
		}
	}
	t.Run("lost, unknown", with(testLostUnknown))
	t.Run("cuts", with(testCuts))
	t.Run("row too large", with(testRowTooLarge))
}

// testRowTooLarge: a message that is too large for a row does not affect other
// messages, and the store logs a warning.
func testRowTooLarge(t *testing.T, b *testbed) {
	b.create(t)
	s := b.open(t, func(o *mysql.Options) { o.MaxMessage = 8 << 20 })
	defer s.Close()
	c := commit.New(s, commit.Options{Log: b.options().Log})
	outcomes := make(chan error, 3)
	for i, size := range []int{100, 7 << 20, 5 << 20} {
		large := i == 1
		c.Submit(storetest.Envelope(strings.Repeat("y", size), "b@example.com"), func(err error) {
			if errors.Is(err, savemail.ErrRejected) != large || (err == nil) == large {
				t.Errorf("%d bytes: outcome %v, want rejected: %v", size, err, large)
			}
			outcomes <- err
		})
	}
	for range 3 {
		<-outcomes
	}
	if rows := b.rows(t); len(rows) != 2 {
		t.Errorf("%d rows, want 2", len(rows))
	}
	if !strings.Contains(b.log.String(), "txn-entry-size-limit") {
		t.Errorf("no warning about txn-entry-size-limit in the log: %s", b.log)
	}
}
