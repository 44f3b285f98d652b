package e2e

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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
	t      *testing.T // of the servers, which all programs use
	page   test.Page
	db     *sql.DB
	server *servers.MariaDBServer // nil with SQLite
	redis  *servers.RedisServer
}

// newConsumed starts a daemon and prepares its table and its users as the page instructs.
func newConsumed(t *testing.T, store string) *consumed {
	t.Helper()
	c := &consumed{t: t, page: test.ReadPage(t, "consuming.md"), redis: servers.Redis(t)}
	c.Daemon = newDaemon(t, map[string]string{"REDIS_HOST": c.redis.Addr, "REDIS_STREAM": "mails"})
	if store == "sqlite" {
		c.Start(t)
		db, err := sql.Open("sqlite", c.Keys["SQLITE_FILE"]+"?_pragma=busy_timeout(30000)")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		c.db = db
		c.exec(t, "sql sqlite")
		c.exec(t, "sql content-sqlite")
		return c
	}
	c.server = servers.MariaDB(t)
	if err := os.Chmod(filepath.Dir(c.server.Socket), 0o755); err != nil {
		t.Fatal(err)
	}
	c.server.CreateTable2012(t, "new_mail")
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
func (c *consumed) do(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := c.db.Exec(statement, args...); err != nil {
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

// workers are running copies of a program.
type workers struct {
	command   func() *exec.Cmd
	processes []*test.Process // also those that were killed
	running   []*test.Process
}

// start writes the program of the page for the store, and starts n workers. If retry is
// not empty, it replaces the first time of a retry, in seconds.
func (c *consumed) start(t *testing.T, s *sink, n int, retry string) *workers {
	t.Helper()
	dir := test.PublicDir(t)
	function := map[string]string{"php": "function work", "python": "def work", "go": "func work"}[s.language]
	head, work, _ := strings.Cut(c.page.Block(t, s.language+" "+s.work, s.pairs...), function)
	pairs := []string{"/run/mysqld/mysqld.sock", ""}
	if c.server == nil {
		head = c.page.Block(t, s.language+" sqlite")
		pairs = []string{"/var/lib/goguerrillad/mail.db", c.Keys["SQLITE_FILE"]}
	} else {
		pairs[1] = c.server.Socket
	}
	pairs = append(pairs, "60 <<", retry+" <<")
	pause := map[string][]string{"php": {"sleep(1)", "usleep(50000)"}, "python": {"sleep(1)", "sleep(0.05)"}, "go": {"time.Second", "50*time.Millisecond"}}[s.language]
	work = strings.NewReplacer(pause...).Replace(work)
	text := test.Page{"head": head}.Block(t, "head", pairs...) + function + work
	file := test.WriteFile(t, dir, s.file, text)
	args := append([]string{"php", file}, s.args...)
	switch s.language {
	case "python":
		args[0] = "/usr/bin/python3" // which finds the modules of Debian's packages
	case "go":
		program := filepath.Join(dir, "worker")
		if out, err := exec.Command("go", "build", "-o", program, file).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		args = append([]string{program}, s.args...)
	}
	w := &workers{command: func() *exec.Cmd {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		if os.Geteuid() == 0 { // the user of the daemon
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: test.Nobody, Gid: test.Nobody}}
		}
		return cmd
	}}
	for range n {
		w.start(t)
	}
	return w
}

func (w *workers) start(t *testing.T) {
	p := test.Start(t, w.command())
	w.processes, w.running = append(w.processes, p), append(w.running, p)
}

// restart kills a worker and starts another.
func (w *workers) restart(t *testing.T, i int) {
	w.running[i].Kill()
	p := test.Start(t, w.command())
	w.processes, w.running[i] = append(w.processes, p), p
}

func (w *workers) stop() {
	for _, p := range w.running {
		p.Kill()
	}
}

func (w *workers) output() string {
	var b strings.Builder
	for _, p := range w.processes {
		b.WriteString(p.Output())
	}
	return b.String()
}

// TestConsumers runs the programs of consuming.md: without kills, they process each row
// once; with kills, at least once.
func TestConsumers(t *testing.T) {
	for _, store := range []string{"mariadb", "sqlite"} {
		t.Run(store, func(t *testing.T) {
			if store == "mariadb" {
				servers.NeedMariaDB(t)
			}
			c := newConsumed(t, store)
			for _, s := range []*sink{webhookSink(t), decodeSink(t, c), commandSink(t)} {
				t.Run(s.language, func(t *testing.T) {
					test.Need(t, map[string]string{"php": "php", "python": "/usr/bin/python3", "go": "go"}[s.language])
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
	defer w.stop()
	l := load.Start(c.Addr)
	l.AwaitAcks(t, 150)
	l.Pause()
	rows := c.count(t, "1 = 1")
	c.awaitRows(t, w, rows-1, "delivered = 1")
	test.Await(t, nil, 40*time.Second, "waiting for the last attempt", func() error {
		c.exec(t, "sql now")
		if n := c.count(t, "next_try IS NULL AND attempts = 12 AND hash = '"+bad+"'"); n != 1 {
			return errors.New("the message is not parked")
		}
		return nil
	})
	test.Await(t, nil, 10*time.Second, "waiting for the result of the last attempt", func() error {
		if n := s.attempts(w)[bad]; n != 12 {
			return fmt.Errorf("%d attempts, want 12", n)
		}
		return nil
	})
	s.repair(t, bad)
	c.exec(t, "sql retry")
	c.awaitRows(t, w, rows, "delivered = 1")
	attempts := s.attempts(w)
	attempts[bad] -= 12
	lost, _ := c.compare(t, s.processed(w))
	if missing, repeated := c.compare(t, attempts); lost+missing+repeated > 0 {
		t.Errorf("%d rows: %d lost, %d processed again", rows, lost, repeated)
	} else {
		t.Logf("%s: %d rows, no kills, 0 processed again, 12 attempts of 1 message until it was parked", s.language, rows)
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
	defer w.stop()
	l := load.Start(c.Addr)
	defer l.Pause()
	const kills = 20
	for i := range kills {
		l.AwaitAcks(t, 1+random.Int64N(20))
		w.restart(t, random.IntN(len(w.running)))
		if c.server != nil && i == kills/2 {
			c.server.Kill()
			c.server.Start(c.t)
		}
		if i%2 == 1 { // the workers reach the end of the table
			l.Pause()
			l.Resume()
		}
	}
	l.Pause()
	rows := c.count(t, "1 = 1")
	c.awaitRows(t, w, rows, "delivered = 1")
	lost, repeated := c.compare(t, s.processed(w))
	hashes, err := load.Hashes(c.db, "new_mail")
	if err != nil {
		t.Fatal(err)
	}
	l.Replace(hashes)
	if a := l.Audit(); a.Violations() != "" || lost > 0 {
		t.Errorf("%d rows, %d kills: %d not processed; %s", rows, kills, lost, a.Violations())
	}
	t.Logf("%s: %d rows, %d kills, 0 lost, %d processed again", s.language, rows, kills, repeated)
}
