package pgproxy_test

import (
	"context"
	"testing"

	"goguerrillad/internal/test/pgproxy"
)

// TestHolds: a transaction whose COMMIT the network holds is in progress after the client
// has gone, until the network delivers or drops it.
func TestHolds(t *testing.T) {
	b := newBed(t)
	status := func(xid string) (s string) {
		t.Helper()
		if err := b.db.QueryRow("SELECT pg_xact_status($1::text::xid8)", xid).Scan(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	e := pgproxy.Exchange{Request: pgproxy.Request{Messages: "Q"}, Response: "CZ"}
	for _, f := range pgproxy.Holds(e) {
		for _, deliver := range []bool{true, false} {
			ctx, cancel := context.WithCancel(t.Context())
			c, err := b.connect(t, ctx)
			if err != nil {
				t.Fatal(err)
			}
			var xid string
			for _, statement := range []string{"BEGIN", "INSERT INTO t VALUES (1, 'x')"} {
				if _, err := c.Exec(ctx, statement); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.QueryRow(ctx, "SELECT pg_current_xact_id()::text").Scan(&xid); err != nil {
				t.Fatal(err)
			}
			done := b.proxy.Once(pgproxy.Executes("COMMIT"), f)
			go func() {
				<-done
				cancel()
			}()
			if _, err := c.Exec(ctx, "COMMIT"); err == nil {
				t.Errorf("%s: success", f.Name)
			}
			<-done
			before, after := "in progress", "aborted"
			if deliver {
				after = "committed"
			}
			if f.Request == pgproxy.All {
				before, after = "committed", "committed"
			}
			if s := status(xid); s != before {
				t.Errorf("%s: %s before the release, want %s", f.Name, s, before)
			}
			var sessions int
			b.server.QueryRow(t, "SELECT count(*) FROM pg_stat_activity WHERE usename = '"+b.server.User+"'", &sessions)
			if sessions != 1 {
				t.Errorf("%s: %d sessions before the release, want 1", f.Name, sessions)
			}
			b.proxy.Release(deliver)
			b.rows(t)
			if s := status(xid); s != after {
				t.Errorf("%s: %s after the release, want %s", f.Name, s, after)
			}
		}
	}
}
