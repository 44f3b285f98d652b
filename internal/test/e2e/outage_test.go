package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// An outage is a daemon with a MariaDB server, and the test makes the server fail.
type outage struct {
	*daemon.Daemon
	parent *testing.T // owns the processes, which outlive the step that starts them
	db     *servers.MariaDBServer
	table  *table
	sent   int
}

// TestOutage makes a database fail in several ways. Each time the daemon continues,
// replies 451, logs the cause, and accepts messages automatically when the cause is
// removed.
func TestOutage(t *testing.T) {
	d := newDaemon(t, nil) // first, since it may skip the test
	m := servers.MariaDB(t)
	m.CreateTable2012(t, "new_mail")
	d.Configure(t, m.Keys())
	o := &outage{Daemon: d, parent: t, db: m, table: &table{m.Connect(t), "new_mail"}}
	for _, step := range []struct {
		name string
		run  func(*outage, *testing.T)
	}{
		{"server down at the start", (*outage).serverDown},
		{"wrong password", (*outage).wrongPassword},
		{"restart under load", (*outage).restartUnderLoad},
		{"missing table", (*outage).missingTable},
		{"max_allowed_packet too small", (*outage).smallPacket},
		{"narrow column", (*outage).narrowColumn},
		{"strict mode off", (*outage).strictModeOff},
		{"wide column", (*outage).wideColumn},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(o, t) }) {
			t.Fatalf("step %q failed, and the next steps depend on it\n%s", step.name, d.Log())
		}
	}
}

// TestSQLiteLocked: no client notices that another process locks the SQLite file for less
// than 10 s.
func TestSQLiteLocked(t *testing.T) {
	test.Need(t, "sqlite3")
	d := newDaemon(t, nil)
	d.Start(t)
	c := connect(t, d)
	defer c.Close()
	send(t, c, "before@example.com")
	lock := exec.Command("sqlite3", "-bail", "-cmd", ".timeout 10000", d.Keys["SQLITE_FILE"], "BEGIN EXCLUSIVE", ".shell echo locked; sleep 8", "COMMIT")
	p := test.Start(t, lock)
	test.Await(t, p, 20*time.Second, "waiting for the lock", func() error {
		if !strings.Contains(p.Output(), "locked") {
			return errors.New("not locked")
		}
		return nil
	})
	var clients sync.WaitGroup
	for i := range 5 {
		clients.Go(func() {
			c := connect(t, d)
			defer c.Close()
			r, err := c.Send("a@example.org", "", []string{fmt.Sprintf("locked%d@example.com", i)}, []byte("Subject: x\r\n\r\n"))
			if err != nil || r.Code != 250 {
				t.Errorf("reply %v, %v, want 250", r, err)
			}
		})
	}
	clients.Wait()
	if n := sqliteTable(t, d).count(t); n != 6 {
		t.Errorf("%d rows, want 6", n)
	}
	if log := d.Log(); !strings.Contains(log, "store unavailable, messages wait") || strings.Contains(log, "replying 451") {
		t.Errorf("log:\n%s", log)
	}
}

// try sends a message and returns the reply and the recipient.
func (o *outage) try(t *testing.T, subject string, body []byte) (client.Reply, string) {
	t.Helper()
	c := connect(t, o.Daemon)
	defer c.Close()
	o.sent++
	to := fmt.Sprintf("rcpt%d@example.com", o.sent)
	start := time.Now()
	r, err := c.Send("sender@example.org", "", []string{to}, append([]byte("Subject: "+subject+"\r\n\r\n"), body...))
	if err != nil {
		t.Fatalf("%v after %v\n%s", err, time.Since(start), o.Log())
	}
	return r, to
}

// expectRefusal checks that the daemon replies 451 to a message.
func (o *outage) expectRefusal(t *testing.T) {
	t.Helper()
	if r, _ := o.try(t, "refused", nil); r.Code != 451 || !strings.HasPrefix(r.Text, "4.3.") {
		t.Fatalf("reply %v, want 451 4.3\n%s", r, o.Log())
	}
}

// awaitStored sends messages until one is accepted, and returns its row.
func (o *outage) awaitStored(t *testing.T, subject string, body []byte) row {
	t.Helper()
	var to string
	test.Await(t, o.Process(), 30*time.Second, "sending messages", func() error {
		r, rcpt := o.try(t, subject, body)
		if r.Code != 250 {
			return fmt.Errorf("reply %v\n%s", r, o.Log())
		}
		to = rcpt
		return nil
	})
	rows, err := o.table.to(to)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows for %s, want 1: %v", len(rows), to, err)
	}
	return rows[0]
}

// expectLog checks that a text is n times in the log after the first `before` bytes.
func (o *outage) expectLog(t *testing.T, before int, text string, n int) {
	t.Helper()
	if got := strings.Count(o.Log()[before:], text); got != n {
		t.Errorf("%q is logged %d times, want %d:\n%s", text, got, n, o.Log()[before:])
	}
}

const (
	logUnavailable = `msg="store unavailable, replying 451"`
	logAvailable   = `msg="store available again"`
)

func (o *outage) serverDown(t *testing.T) {
	if err := o.db.Stop(); err != nil {
		t.Fatal(err)
	}
	o.Daemon.Start(o.parent)
	for range 3 {
		o.expectRefusal(t)
	}
	o.expectLog(t, 0, logUnavailable, 1)
	o.db.Start(o.parent)
	o.awaitStored(t, "first", nil)
	o.AwaitLog(t, logAvailable, 1)
	o.expectLog(t, 0, logUnavailable, 1)
	if n := o.table.count(t); n != 1 {
		t.Errorf("%d rows, want 1: messages with the reply 451 are not stored", n)
	}
}

func (o *outage) wrongPassword(t *testing.T) {
	before := len(o.Log())
	const wrong = "not-the-passw0rd"
	o.Reload(t, map[string]string{"MYSQL_PASS": wrong}) // may succeed, since the value is valid
	o.expectRefusal(t)
	o.AwaitLog(t, "Access denied", 1)
	if !o.Reload(t, map[string]string{"MYSQL_PASS": o.db.Pass}) {
		t.Fatalf("reload refused:\n%s", o.Log())
	}
	o.awaitStored(t, "again", nil)
	o.expectLog(t, before, wrong, 0)
	o.expectLog(t, before, o.db.Pass, 0)
}

// restartUnderLoad: no client notices restarts of the server, with one host and with a list,
// and each message is one row. Each recipient is looked up in the database.
func (o *outage) restartUnderLoad(t *testing.T) {
	for _, hosts := range []string{o.db.Addr, o.db.Addr + "," + strings.Replace(o.db.Addr, "127.0.0.1", "localhost", 1)} {
		if !o.Reload(t, map[string]string{
			"MYSQL_HOST": hosts, "GM_RECIPIENT_CACHE_SECONDS": "0",
			"GM_RECIPIENT_QUERY": "SELECT 1 FROM information_schema.tables WHERE :address LIKE '%@example.com' LIMIT 1",
		}) {
			t.Fatalf("reload refused:\n%s", o.Log())
		}
		before, begun := len(o.Log()), o.table.count(t)
		var acknowledged atomic.Int64
		var clients sync.WaitGroup
		stop := make(chan struct{})
		for i := range 8 {
			clients.Go(func() {
				c := connect(t, o.Daemon)
				defer c.Close()
				for {
					select {
					case <-stop:
						return
					default:
					}
					to := fmt.Sprintf("restart%d@example.com", i)
					r, err := c.Send("a@example.org", "", []string{to}, []byte("Subject: x\r\n\r\n"))
					if err != nil || r.Code != 250 {
						t.Errorf("reply %v, %v, want 250", r, err)
						return
					}
					acknowledged.Add(1)
				}
			})
		}
		await := func(n int64) {
			t.Helper()
			n += acknowledged.Load()
			test.Await(t, o.Process(), 30*time.Second, "waiting for messages", func() error {
				if got := acknowledged.Load(); got < n {
					return fmt.Errorf("%d acknowledged", got)
				}
				return nil
			})
		}
		for range 3 {
			await(100)
			if err := o.db.Stop(); err != nil {
				t.Fatal(err)
			}
			o.db.Start(o.parent)
		}
		await(100)
		close(stop)
		clients.Wait()
		if rows := int64(o.table.count(t) - begun); rows != acknowledged.Load() {
			t.Errorf("%s: %d rows, want %d", hosts, rows, acknowledged.Load())
		}
		if log := o.Log()[before:]; !strings.Contains(log, "store unavailable, messages wait") || strings.Contains(log, "replying 451") {
			t.Errorf("%s: log of the restarts:\n%s", hosts, log)
		}
	}
	if !o.Reload(t, map[string]string{"MYSQL_HOST": o.db.Addr, "GM_RECIPIENT_QUERY": ""}) {
		t.Fatalf("reload refused:\n%s", o.Log())
	}
}

func (o *outage) missingTable(t *testing.T) {
	before := len(o.Log()) // the daemon's own check may find the table missing before a message arrives
	o.db.Exec(t, "RENAME TABLE "+o.db.DB+".new_mail TO "+o.db.DB+".elsewhere")
	o.expectRefusal(t)
	o.AwaitLog(t, "new_mail", 1)
	o.expectRefusal(t)
	o.expectLog(t, before, logUnavailable, 1)
	o.db.Exec(t, "RENAME TABLE "+o.db.DB+".elsewhere TO "+o.db.DB+".new_mail")
	o.awaitStored(t, "again", nil)
}

func (o *outage) smallPacket(t *testing.T) {
	large := bytes.Repeat([]byte("large\r\n"), 500_000)
	before := len(o.Log())
	o.restartDatabase(t, "SET GLOBAL max_allowed_packet=1048576")
	if r, _ := o.try(t, "large", large); r.Code != 451 || !strings.HasPrefix(r.Text, "4.3.") {
		t.Fatalf("reply to a large message: %v, want 451 4.3\n%s", r, o.Log())
	}
	o.awaitStored(t, "small", nil)
	if !strings.Contains(o.Log()[before:], "max_allowed_packet") {
		t.Errorf("the log does not name max_allowed_packet:\n%s", o.Log()[before:])
	}
	o.restartDatabase(t, "SET GLOBAL max_allowed_packet=16777216")
	if r := o.awaitStored(t, "large", large); !bytes.HasSuffix(r.mail, large) {
		t.Error("the stored text differs from the text that was sent")
	}
}

// restartDatabase restarts the server and sets global variables before the daemon
// connects again.
func (o *outage) restartDatabase(t *testing.T, statements ...string) {
	t.Helper()
	if err := o.db.Stop(); err != nil {
		t.Fatal(err)
	}
	o.db.Start(o.parent)
	test.Await(t, nil, 10*time.Second, "waiting for MariaDB", o.table.db.Ping)
	o.db.Exec(t, statements...)
	if !o.Reload(t, nil) { // the reload opens new connections
		t.Fatalf("reload refused:\n%s", o.Log())
	}
}

// wideSubject has a character of four bytes and more than 255 characters, so the old
// table cannot hold it unchanged.
var wideSubject = "=?utf-8?B?8J+YgA==?= " + strings.Repeat("ü", 300)

// narrowColumn: the subject is cut at 255 characters, and the character of four bytes
// is replaced.
func (o *outage) narrowColumn(t *testing.T) {
	got := o.awaitStored(t, wideSubject, nil).subject
	if n := len([]rune(got)); n != 255 || !strings.HasSuffix(got, "üüü") || strings.Contains(got, "😀") {
		t.Errorf("subject of %d characters, want 255: %s", n, got)
	}
}

func (o *outage) strictModeOff(t *testing.T) {
	o.restartDatabase(t, "SET GLOBAL sql_mode=''")
	o.narrowColumn(t)
	o.restartDatabase(t, "SET GLOBAL sql_mode=DEFAULT")
}

func (o *outage) wideColumn(t *testing.T) {
	o.db.Exec(t, "ALTER TABLE "+o.db.DB+".new_mail CONVERT TO CHARACTER SET utf8mb4",
		"ALTER TABLE "+o.db.DB+".new_mail MODIFY ip_addr VARCHAR(45) NOT NULL, MODIFY subject VARCHAR(400) NOT NULL")
	if !o.Reload(t, nil) {
		t.Fatalf("reload refused:\n%s", o.Log())
	}
	if got, want := o.awaitStored(t, wideSubject, nil).subject, "😀 "+strings.Repeat("ü", 300); got != want {
		t.Errorf("subject %s, want %s", got, want)
	}
	// The widened columns can hold addresses that are not in latin1.
	c := connect(t, o.Daemon)
	r, err := c.Send("送信者@example.org", "SMTPUTF8", []string{"受信者@example.com"}, []byte("Subject: x\r\n\r\n"))
	if err != nil || r.Code != 250 {
		t.Fatalf("reply %v, %v\n%s", r, err, o.Log())
	}
	if rows, err := o.table.to("受信者@example.com"); err != nil || len(rows) != 1 {
		t.Errorf("%d rows, want 1: %v", len(rows), err)
	} else if rows[0].from != "送信者@example.org" {
		t.Errorf("from %q, want 送信者@example.org", rows[0].from)
	}
	o.ipv6(t)
}

// ipv6 checks the stored address of an IPv6 client.
func (o *outage) ipv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Logf("IPv6 is not available: %v", err)
		return
	}
	old := o.Addr
	o.Addr = l.Addr().String()
	l.Close()
	if !o.Reload(t, map[string]string{"GSTMP_LISTEN_INTERFACE": old + "," + o.Addr}) {
		t.Fatalf("reload refused:\n%s", o.Log())
	}
	if got := o.awaitStored(t, "IPv6", nil).ip; got != "::1" {
		t.Errorf("ip_addr %q, want ::1", got)
	}
	o.Addr = old
}
