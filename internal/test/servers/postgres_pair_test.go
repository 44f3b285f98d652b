package servers_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/servers"
)

// TestPostgresPair: rows survive a switch-over, and the death of the primary if a commit
// waits for the standby. The client finds the server that accepts writes.
func TestPostgresPair(t *testing.T) {
	needServers(t)
	for _, synchronous := range []bool{false, true} {
		t.Run(fmt.Sprintf("synchronous %v", synchronous), func(t *testing.T) {
			r := servers.PostgresPair(t, synchronous)
			r.Primary.CreateTable(t, "new_mail")
			db := dial(t, r.Primary.DSN(r.Standby.Addr, r.Primary.Addr)+"&target_session_attrs=read-write")
			exec(t, db, insert, "a@example.com")
			r.AwaitReplicated(t)
			if n := rows(t, r.Standby); n != 1 {
				t.Errorf("%d rows on the standby, want 1", n)
			}
			if _, err := r.Standby.ConnectUser(t).Exec(insert, "b@example.com"); sqlState(err) != "25006" {
				t.Errorf("a standby accepts writes: %v", err)
			}
			var identifier string
			r.Primary.QueryRow(t, "SELECT system_identifier FROM pg_control_system()", &identifier)

			r.Swap(t, func() {})
			exec(t, dial(t, r.Primary.DSN(r.Standby.Addr, r.Primary.Addr)+"&target_session_attrs=read-write"), insert, "b@example.com")
			r.AwaitReplicated(t)
			r.FailOver(t)
			if n := rows(t, r.Primary); n != 2 {
				t.Errorf("%d rows after the failover, want 2", n)
			}
			exec(t, r.Primary.ConnectUser(t), insert, "c@example.com")
			r.Follow(t)
			if n := rows(t, r.Standby); n != 3 {
				t.Errorf("%d rows on the new standby, want 3", n)
			}
			var last, timeline string
			r.Primary.QueryRow(t, "SELECT system_identifier FROM pg_control_system()", &last)
			r.Primary.QueryRow(t, "SELECT timeline_id FROM pg_control_checkpoint()", &timeline)
			if last != identifier || timeline != "3" {
				t.Errorf("system identifier %s, timeline %s, want %s and 3", last, timeline, identifier)
			}
		})
	}
}

// serverTime bounds the time until a server has done something.
const serverTime = 20 * time.Second

func sqlState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return fmt.Sprint(err)
}

// TestPgBouncer: in transaction mode a client may lose its session after each transaction.
func TestPgBouncer(t *testing.T) {
	needServers(t)
	s := servers.Postgres(t)
	s.CreateTable(t, "new_mail")
	for _, mode := range []string{"session", "transaction"} {
		b := servers.PgBouncer(t, s, mode, "default_pool_size=1")
		c, err := pgx.Connect(t.Context(), s.DSN(b.Addr))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(context.Background())
		if _, err := c.Exec(t.Context(), insert, pgx.QueryExecModeExec, mode); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		b.Pause(t)
		b.Continue(t)
		b.Kill()
		b.Start(t)
		if err := c.Ping(t.Context()); err == nil {
			t.Errorf("%s: a connection survives the end of PgBouncer", mode)
		}
		exec(t, dial(t, s.DSN(b.Addr)+"&default_query_exec_mode=exec"), insert, mode)
	}
	if n := rows(t, s); n != 4 {
		t.Errorf("%d rows, want 4", n)
	}
	other := servers.Postgres(t)
	other.CreateTable(t, "new_mail")
	b := servers.PgBouncer(t, s, "transaction")
	db := dial(t, s.DSN(b.Addr)+"&default_query_exec_mode=exec")
	exec(t, db, insert, "before")
	b.Move(t, s, other)
	test.Await(t, nil, serverTime, "wait for the other server", func() error {
		exec(t, db, insert, "after")
		if n := rows(t, other); n == 0 {
			return fmt.Errorf("it has no row")
		}
		return nil
	})
}
