package pgproxy_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/pgproxy"
	"goguerrillad/internal/test/servers"
)

// waitTime bounds the time until the server has done something.
const waitTime = 20 * time.Second

// A bed is a server with a table, and a proxy for it.
type bed struct {
	server *servers.PostgresServer
	proxy  *pgproxy.Proxy
	db     *sql.DB
}

func newBed(t *testing.T) *bed {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts PostgreSQL")
	}
	s := servers.Postgres(t)
	s.Exec(t, "CREATE TABLE t (n int, text text)", "GRANT SELECT, INSERT, UPDATE ON t TO "+s.User)
	return &bed{s, pgproxy.Start(t, s.Addr), s.Connect(t)}
}

func (b *bed) connect(t *testing.T, ctx context.Context) (*pgx.Conn, error) {
	t.Helper()
	c, err := pgx.Connect(ctx, b.server.DSN(b.proxy.Addr))
	if err == nil {
		t.Cleanup(func() {
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			c.Close(ended)
		})
	}
	return c, err
}

// rows returns the number of rows when all sessions of the daemon's user have ended.
func (b *bed) rows(t *testing.T) (n int) {
	t.Helper()
	test.Await(t, nil, waitTime, "wait for the end of the sessions", func() error {
		var sessions int
		if err := b.db.QueryRow("SELECT count(*) FROM pg_stat_activity WHERE usename = $1", b.server.User).Scan(&sessions); err != nil {
			t.Fatal(err)
		}
		if sessions > 0 {
			return fmt.Errorf("%d sessions", sessions)
		}
		return nil
	})
	if err := b.db.QueryRow("SELECT count(*) FROM t").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func happened(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// actions returns the ways to insert the row that the tests break.
func actions() map[string]func(ctx context.Context, c *pgx.Conn) error {
	return map[string]func(ctx context.Context, c *pgx.Conn) error{
		"simple": func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Exec(ctx, "INSERT INTO t VALUES ($1, 'simple')", pgx.QueryExecModeSimpleProtocol, 1)
			return err
		},
		"extended": func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Exec(ctx, "INSERT INTO t VALUES ($1, 'extended')", pgx.QueryExecModeExec, 1)
			return err
		},
		"batch": func(ctx context.Context, c *pgx.Conn) error {
			b := &pgx.Batch{}
			b.Queue("BEGIN")
			b.Queue("INSERT INTO t VALUES ($1, 'batch')", 1)
			b.Queue("UPDATE t SET n = n + 1")
			b.Queue("COMMIT")
			return c.SendBatch(ctx, b).Close()
		},
		"COPY": func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"n", "text"}, pgx.CopyFromRows([][]any{{1, "copy"}}))
			return err
		},
	}
}

// exchange returns the messages of an action.
func (b *bed) exchange(t *testing.T, action func(ctx context.Context, c *pgx.Conn) error, match pgproxy.Match) pgproxy.Exchange {
	t.Helper()
	c, err := b.connect(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	recorded := b.proxy.Record(match)
	if err := action(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	e := <-recorded
	t.Logf("%s -> %s", e.Messages, e.Response)
	return e
}

// matches returns the request of an action that stores the row.
func matches(name string) pgproxy.Match {
	text := map[string]string{"simple": "INSERT", "extended": "INSERT", "batch": "COMMIT", "COPY": "copy"}[name]
	return pgproxy.Executes(text)
}

// check counts the rows after a fault. The server stores the row when it has received
// COMMIT's Execute, and without COMMIT when it has received the whole request.
func (b *bed) check(t *testing.T, name string, e pgproxy.Exchange, f pgproxy.Fault, before int) (after int) {
	t.Helper()
	want := before
	committed := name == "batch" && f.Request == len(e.Messages)-1
	if f.Request == pgproxy.All || committed {
		want++
	}
	after = b.rows(t)
	// A reset may overtake the request, and so may pgx's CancelRequest after an error. A
	// client of COPY may not have sent the data when it receives the first message of the
	// response.
	raced := f.Early || committed || name == "COPY" && f.Request == pgproxy.All && f.Response == 0
	if after != want && !(raced && after == before) {
		t.Errorf("%s: %s: %d rows, want %d", name, f.Name, after, want)
	}
	return after
}

// TestCuts: the row is stored exactly if the server has received the request.
func TestCuts(t *testing.T) {
	b := newBed(t)
	for name, action := range actions() {
		t.Run(name, func(t *testing.T) {
			e := b.exchange(t, action, matches(name))
			stored := b.rows(t)
			cuts := pgproxy.Cuts(e)
			if want := 4*(len(e.Messages)+len(e.Response)) + 4; len(cuts) != want {
				t.Errorf("%d cuts, want %d", len(cuts), want)
			}
			for _, f := range cuts {
				done := b.proxy.Once(matches(name), f)
				c, err := b.connect(t, t.Context())
				if err != nil {
					t.Fatal(err)
				}
				err = action(t.Context(), c)
				if !happened(done) {
					t.Fatalf("%s: the fault has not happened: %v", f.Name, err)
				}
				if f.Response != pgproxy.All && err == nil {
					t.Errorf("%s: success", f.Name)
				}
				if reset := errors.Is(err, syscall.ECONNRESET); name == "extended" && f.Response != pgproxy.All && reset != f.Reset {
					t.Errorf("%s: error %v", f.Name, err)
				}
				c.Close(t.Context())
				stored = b.check(t, name, e, f, stored)
			}
		})
	}
}

// TestCutLogin: a login can be cut at each message.
func TestCutLogin(t *testing.T) {
	b := newBed(t)
	recorded := b.proxy.Record(pgproxy.Executes("startup"))
	c, err := b.connect(t, t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Close(t.Context())
	e := <-recorded
	t.Logf("%q: %s -> %s", e.Executed, e.Messages, e.Response)
	for _, f := range pgproxy.Cuts(e) {
		done := b.proxy.Once(pgproxy.Executes("startup"), f)
		if _, err := b.connect(t, t.Context()); err == nil && f.Response != pgproxy.All {
			t.Errorf("%s: success", f.Name)
		}
		if !happened(done) {
			t.Errorf("%s: the fault has not happened", f.Name)
		}
	}
}

// TestHangs: only the client ends the wait, and the server then ends the session.
func TestHangs(t *testing.T) {
	b := newBed(t)
	for name, action := range actions() {
		e := b.exchange(t, action, matches(name))
		stored := b.rows(t)
		for _, f := range pgproxy.Hangs(e) {
			ctx, cancel := context.WithCancel(t.Context())
			done := b.proxy.Once(matches(name), f)
			c, err := b.connect(t, ctx)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				<-done
				cancel()
			}()
			// While pgx writes, it closes the connection instead of returning ctx's error.
			err = action(ctx, c)
			if err == nil || name != "simple" && !errors.Is(err, context.Canceled) && !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: %s: error %v", name, f.Name, err)
			}
			<-done
			stored = b.check(t, name, e, f, stored)
		}
	}
}

// TestMalformed: a malformed response reaches the client, whose library returns an error if
// the message has no place in the protocol. The connection goes on.
func TestMalformed(t *testing.T) {
	b := newBed(t)
	for name, action := range actions() {
		e := b.exchange(t, action, matches(name))
		stored := b.rows(t)
		for _, f := range pgproxy.Malformed(e) {
			ctx, cancel := context.WithCancel(t.Context())
			done := b.proxy.Once(matches(name), f)
			c, err := b.connect(t, ctx)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(f.Name, "length 64 MiB") { // the client waits for the rest
				go func() {
					<-done
					cancel()
				}()
			}
			err = action(ctx, c)
			if !happened(done) {
				t.Errorf("%s: %s: the fault has not happened", name, f.Name)
			}
			// The body of ParseComplete (1) is empty.
			if err != nil && strings.HasPrefix(f.Name, "other body: 1") {
				t.Errorf("%s: %s: %v", name, f.Name, err)
			}
			if err == nil && (strings.HasPrefix(f.Name, "length") || strings.HasPrefix(f.Name, "unknown")) {
				t.Errorf("%s: %s: success", name, f.Name)
			}
			cancel()
			c.Close(ctx)
			stored = b.check(t, name, e, f, stored)
		}
	}
}
