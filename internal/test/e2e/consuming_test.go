package e2e

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/load"
	"goguerrillad/internal/test/servers"
)

// A consumed is a daemon whose table has the columns of consuming.md, and the programs
// of the page that process its rows.
type consumed struct {
	*daemon.Daemon
	t        *testing.T // of the servers, which all programs use
	page     test.Page
	store    string // of the titles of blocks: mariadb, postgres or sqlite
	db       *sql.DB
	server   *servers.MariaDBServer  // with mariadb
	postgres *servers.PostgresServer // with postgres
	redis    *servers.RedisServer
}

// newConsumed starts a daemon and prepares its table and its users as the page instructs.
func newConsumed(t *testing.T, store string) *consumed {
	t.Helper()
	c := &consumed{t: t, page: test.ReadPage(t, "consuming.md"), Daemon: newDaemon(t, nil), store: store}
	c.redis = servers.Redis(t)
	c.Configure(t, map[string]string{"REDIS_HOST": c.redis.Addr, "REDIS_STREAM": "mails"})
	if store == "sqlite" {
		c.Start(t)
		db, err := sql.Open("sqlite", "file:"+c.Keys["SQLITE_FILE"]+"?mode=rw&_pragma=busy_timeout(30000)")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		c.db = db
		test.Await(t, c.Process(), 20*time.Second, "waiting for the table", func() error {
			_, err := db.Exec("SELECT 1 FROM new_mail")
			return err
		})
		c.exec(t, "sql sqlite")
		c.exec(t, "sql content-sqlite")
		return c
	}
	if store == "postgres" {
		c.postgres = servers.Postgres(t)
		c.postgres.CreateTable(t, "new_mail")
		c.Configure(t, c.postgres.Keys())
		c.Start(t)
		c.db = c.postgres.Connect(t)
		for _, block := range []string{"sql postgres", "sql postgres-users", "sql content-postgres"} {
			c.exec(t, block)
		}
		return c
	}
	servers.NeedMariaDB(t)
	c.store = "mariadb"
	c.server = servers.MariaDB(t)
	if err := os.Chmod(filepath.Dir(c.server.Socket), 0o755); err != nil {
		t.Fatal(err)
	}
	if store == "mariadb" {
		c.server.CreateTable(t, "new_mail")
	} else {
		c.server.CreateTable2012(t, "new_mail")
	}
	c.Configure(t, c.server.Keys())
	c.Start(t)
	c.db = c.server.Connect(t)
	for _, block := range []string{"sql mariadb", "sql users", "sql content"} {
		c.exec(t, block)
	}
	return c
}

// exec executes the statements of a block.
func (c *consumed) exec(t *testing.T, block string) {
	t.Helper()
	for _, statement := range c.statements(t, block) {
		c.do(t, statement)
	}
}

// statements returns the statements of a block.
func (c *consumed) statements(t *testing.T, block string) []string {
	t.Helper()
	return strings.Split(strings.TrimSuffix(strings.TrimSpace(c.page.Block(t, block)), ";"), ";\n")
}

// do executes a statement as an administrator.
func (c *consumed) do(t *testing.T, statement string) {
	t.Helper()
	if c.postgres != nil {
		statement = strings.ReplaceAll(statement, "`", `"`)
	}
	if _, err := c.db.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// count returns the number of rows that a condition selects.
func (c *consumed) count(t *testing.T, where string) (n int) {
	t.Helper()
	if err := c.db.QueryRow("SELECT count(*) FROM new_mail WHERE " + where).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// awaitRows waits until a condition selects n rows.
func (c *consumed) awaitRows(t *testing.T, w *workers, n int, where string) {
	t.Helper()
	test.Await(t, nil, 40*time.Second, "waiting for the workers", func() error {
		if got := c.count(t, where); got != n {
			return fmt.Errorf("%d rows have %s, want %d\n%s", got, where, n, w.output())
		}
		return nil
	})
}

// TestConsumers runs the programs of consuming.md: without kills, they process each row
// once; with kills, at least once.
func TestConsumers(t *testing.T) {
	for _, store := range []string{"mariadb-2012", "postgres", "sqlite"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			c := newConsumed(t, store)
			for _, s := range []*sink{webhookSink(t), decodeSink(t, c), commandSink(t)} {
				t.Run(s.language, func(t *testing.T) {
					test.Need(t, s.interpreter...)
					t.Run("calm", func(t *testing.T) { c.processOnce(t, s) })
					t.Run("killed", func(t *testing.T) { c.processThroughKills(t, s) })
				})
			}
		})
	}
}

// processOnce sends messages, one of which fails until it is parked and tried again, and
// counts how often each was processed.
func (c *consumed) processOnce(t *testing.T, s *sink) {
	c.empty(t)
	bad := send(t, connect(t, c.Daemon), poison)
	s.spoil(t, bad)
	w := c.start(t, s, 3, "60")
	defer w.stop(t)
	l := load.Start(c.Addr)
	l.AwaitAcks(t, 100)
	l.Pause()
	rows := c.count(t, "1 = 1")
	c.awaitRows(t, w, rows-1, "delivered = true")
	test.Await(t, nil, 40*time.Second, "waiting for the last attempt", func() error {
		c.exec(t, "sql now")
		if n := c.count(t, "next_try IS NULL AND attempts = 12 AND hash = '"+bad+"'"); n != 1 {
			return errors.New("the message is not parked")
		}
		return nil
	})
	test.Await(t, nil, 10*time.Second, "waiting for the end of the last attempt", func() error {
		if n := s.failures(w); n != 12 {
			return fmt.Errorf("%d failures, want 12", n)
		}
		return nil
	})
	s.repair(t, bad)
	c.exec(t, "sql retry")
	c.awaitRows(t, w, rows, "delivered = true")
	attempts := s.attempts(w)
	attempts[bad] -= 12
	lost, _ := c.compare(t, s.processed(w))
	if missing, repeated := c.compare(t, attempts); lost+missing+repeated > 0 {
		t.Errorf("%d rows: %d lost, %d processed again", rows, lost, repeated)
	} else {
		t.Logf("%s: %d rows, no kills, 0 processed again, 12 attempts of 1 message until it was parked", s.language, rows)
	}
}

// crash kills the database server and starts it again.
func (c *consumed) crash() {
	switch c.store {
	case "mariadb":
		c.server.Kill()
		c.server.Start(c.t)
	case "postgres":
		c.postgres.Kill()
		c.postgres.Start(c.t)
	}
}

// compare returns the number of rows that were not processed, and of repetitions.
func (c *consumed) compare(t *testing.T, processed map[string]int) (lost, repeated int) {
	t.Helper()
	hashes, err := load.Hashes(c.db, "new_mail")
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range hashes {
		for _, hash := range of {
			if processed[hash] == 0 {
				lost++
			} else {
				repeated += processed[hash] - 1
			}
		}
	}
	return lost, repeated
}

// empty removes the rows of an earlier test.
func (c *consumed) empty(t *testing.T) {
	t.Helper()
	for _, table := range []string{"new_mail", "content", "attachment"} {
		c.do(t, "DELETE FROM "+table)
	}
}

// processThroughKills kills workers at random moments while messages arrive. The
// database server also crashes.
func (c *consumed) processThroughKills(t *testing.T, s *sink) {
	c.empty(t)
	random := rand.New(rand.NewPCG(test.Seed(t), 0))
	w := c.start(t, s, 3, "1")
	defer w.stop(t)
	l := load.Start(c.Addr)
	defer l.Pause()
	const kills = 20
	for i := range kills {
		l.AwaitAcks(t, 1+random.Int64N(10))
		worker := random.IntN(len(w.running))
		w.kill(t, worker)
		w.start(t, worker)
		if i == kills/2 {
			c.crash()
		}
		if i%2 == 1 { // the workers reach the end of the table
			l.Pause()
			l.Resume()
		}
	}
	l.Pause()
	rows := c.count(t, "1 = 1")
	c.awaitRows(t, w, rows, "delivered = true")
	lost, _ := c.compare(t, s.processed(w))
	_, repeated := c.compare(t, s.attempts(w))
	hashes, err := load.Hashes(c.db, "new_mail")
	if err != nil {
		t.Fatal(err)
	}
	l.Replace(hashes)
	if a := l.Audit(); a.Violations() != "" || lost > 0 {
		t.Errorf("%d rows, %d kills: %d not processed; %s", rows, kills, lost, a.Violations())
	}
	t.Logf("%s: %d rows, %d kills, %d lost, %d attempts repeated", s.language, rows, kills, lost, repeated)
}
