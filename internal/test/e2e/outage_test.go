package e2e

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// An outage is a daemon with a MariaDB that is made to fail.
type outage struct {
	*daemon.Daemon
	whole *testing.T // what a step starts serves the next ones too
	db    *servers.MariaDBServer
	table *table
	sent  int
}

// TestOutage goes through what can be wrong with a database. Whatever it is,
// the daemon runs, answers 451, says so, and takes mail again by itself.
func TestOutage(t *testing.T) {
	d := newDaemon(t, nil) // first: it knows whether all of this is to be skipped
	m := servers.MariaDB(t)
	m.CreateTable(t, "new_mail")
	d.Configure(t, m.Keys())
	o := &outage{Daemon: d, whole: t, db: m, table: &table{m.Connect(t), "new_mail"}}
	for _, step := range []struct {
		name string
		run  func(*outage, *testing.T)
	}{
		{"absent at the start", (*outage).absent},
		{"wrong password", (*outage).password},
		{"missing table", (*outage).missing},
		{"packet too small", (*outage).packet},
		{"as the table is", (*outage).narrow},
		{"strict mode off", (*outage).lax},
		{"table widened", (*outage).wide},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(o, t) }) {
			t.Fatalf("the steps build on one another\n%s", d.Log())
		}
	}
}

// try sends a mail and returns the reply and the recipient.
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

// refused makes sure that a mail gets 451 and leaves no row.
func (o *outage) refused(t *testing.T) {
	t.Helper()
	if r, _ := o.try(t, "refused", nil); r.Code != 451 || !strings.HasPrefix(r.Text, "4.3.") {
		t.Fatalf("reply %v\n%s", r, o.Log())
	}
}

// takes waits until a mail is taken and returns its one row.
func (o *outage) takes(t *testing.T, subject string, body []byte) row {
	t.Helper()
	var to string
	test.Await(t, o.Process(), 30*time.Second, "mail is taken", func() error {
		r, rcpt := o.try(t, subject, body)
		if r.Code != 250 {
			return fmt.Errorf("%v\n%s", r, o.Log())
		}
		to = rcpt
		return nil
	})
	rows, err := o.table.to(to)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	return rows[0]
}

// logged makes sure that of what was logged since before, exactly n lines have
// a text.
func (o *outage) logged(t *testing.T, before int, text string, n int) {
	t.Helper()
	if got := strings.Count(o.Log()[before:], text); got != n {
		t.Errorf("%q is logged %d times, want %d:\n%s", text, got, n, o.Log()[before:])
	}
}

const (
	down = `msg="store unavailable: `
	back = `msg="store available again"`
)

func (o *outage) absent(t *testing.T) {
	if err := o.db.Stop(); err != nil {
		t.Fatal(err)
	}
	o.Daemon.Start(o.whole)
	for range 3 {
		o.refused(t)
	}
	o.logged(t, 0, down, 1)
	o.db.Start(o.whole)
	o.takes(t, "first", nil)
	o.AwaitLog(t, back, 1)
	o.logged(t, 0, down, 1)
	if n := o.table.count(t); n != 1 {
		t.Errorf("%d rows, want 1: what got 451 is not kept", n)
	}
}

func (o *outage) password(t *testing.T) {
	before := len(o.Log())
	const wrong = "not-the-passw0rd"
	o.Reload(t, map[string]string{"MYSQL_PASS": wrong}) // well formed, so it is taken, or refused with a reason
	o.refused(t)
	o.AwaitLog(t, "Access denied", 1)
	if !o.Reload(t, map[string]string{"MYSQL_PASS": o.db.Pass}) {
		t.Fatalf("reload refused:\n%s", o.Log())
	}
	o.takes(t, "again", nil)
	o.logged(t, before, wrong, 0)
	o.logged(t, before, o.db.Pass, 0)
}

func (o *outage) missing(t *testing.T) {
	before := len(o.Log()) // the daemon's own check may be the first to miss the table
	o.db.Exec(t, "RENAME TABLE "+o.db.DB+".new_mail TO "+o.db.DB+".elsewhere")
	o.refused(t)
	o.AwaitLog(t, "new_mail", 1)
	o.refused(t)
	o.logged(t, before, down, 1)
	o.db.Exec(t, "RENAME TABLE "+o.db.DB+".elsewhere TO "+o.db.DB+".new_mail")
	o.takes(t, "again", nil)
}

func (o *outage) packet(t *testing.T) {
	large := bytes.Repeat([]byte("large\r\n"), 500_000)
	o.db.Exec(t, "SET GLOBAL max_allowed_packet=1048576")
	before := len(o.Log())
	o.restartDatabase(t, "SET GLOBAL max_allowed_packet=1048576")
	if r, _ := o.try(t, "large", large); r.Code != 451 || !strings.HasPrefix(r.Text, "4.3.") {
		t.Fatalf("reply %v\n%s", r, o.Log())
	}
	o.takes(t, "small beside it", nil)
	if !strings.Contains(o.Log()[before:], "max_allowed_packet") {
		t.Errorf("the log does not name max_allowed_packet:\n%s", o.Log()[before:])
	}
	o.restartDatabase(t, "SET GLOBAL max_allowed_packet=16777216")
	if r := o.takes(t, "large", large); !bytes.HasSuffix(r.mail, large) {
		t.Error("stored otherwise")
	}
}

// restartDatabase lets a global variable reach all connections.
func (o *outage) restartDatabase(t *testing.T, statements ...string) {
	t.Helper()
	if err := o.db.Stop(); err != nil {
		t.Fatal(err)
	}
	o.db.Start(o.whole)
	test.Await(t, nil, 10*time.Second, "MariaDB is back", o.table.db.Ping)
	o.db.Exec(t, statements...)
	if !o.Reload(t, nil) { // the daemon connects anew at the latest now
		t.Fatalf("reload refused:\n%s", o.Log())
	}
}

// hard is a subject with what the table of old has no room for.
var hard = "=?utf-8?B?8J+YgA==?= " + strings.Repeat("ü", 300)

// narrow: a subject of three-byte characters, cut at 255.
func (o *outage) narrow(t *testing.T) {
	got := o.takes(t, hard, nil).subject
	if n := len([]rune(got)); n != 255 || !strings.HasSuffix(got, " üüü") && !strings.HasSuffix(got, "üüü") || strings.Contains(got, "😀") {
		t.Errorf("%d characters: %s", n, got)
	}
}

func (o *outage) lax(t *testing.T) {
	o.restartDatabase(t, "SET GLOBAL sql_mode=''")
	o.narrow(t)
	o.restartDatabase(t, "SET GLOBAL sql_mode=DEFAULT")
}

func (o *outage) wide(t *testing.T) {
	o.db.Exec(t, "ALTER TABLE "+o.db.DB+".new_mail CONVERT TO CHARACTER SET utf8mb4",
		"ALTER TABLE "+o.db.DB+".new_mail MODIFY ip_addr VARCHAR(45) NOT NULL, MODIFY subject VARCHAR(400) NOT NULL")
	if !o.Reload(t, nil) {
		t.Fatalf("reload refused:\n%s", o.Log())
	}
	if got, want := o.takes(t, hard, nil).subject, "😀 "+strings.Repeat("ü", 300); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// A recipient that latin1 could not hold fits now.
	c := connect(t, o.Daemon)
	r, err := c.Send("送信者@example.org", "SMTPUTF8", []string{"受信者@example.com"}, []byte("Subject: x\r\n\r\n"))
	if err != nil || r.Code != 250 {
		t.Fatalf("%v, %v\n%s", r, err, o.Log())
	}
	if rows, err := o.table.to("受信者@example.com"); err != nil || len(rows) != 1 || rows[0].from != "送信者@example.org" {
		t.Errorf("%v, %v", rows, err)
	}
	o.ipv6(t)
}

// ipv6 looks at the address of a client that has no other.
func (o *outage) ipv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Logf("no IPv6 here: %v", err)
		return
	}
	old := o.Addr
	o.Addr = l.Addr().String()
	l.Close()
	if !o.Reload(t, map[string]string{"GSTMP_LISTEN_INTERFACE": old + "," + o.Addr}) {
		t.Fatalf("reload refused:\n%s", o.Log())
	}
	if got := o.takes(t, "IPv6", nil).ip; got != "::1" {
		t.Errorf("ip_addr %q", got)
	}
	o.Addr = old
}
