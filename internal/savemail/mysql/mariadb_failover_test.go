package mysql_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/testserver"
)

// A pair is two plain servers in one list. They know nothing of each other, so
// a mail is in one of them.
type pair struct {
	*bench // of the first
	second *bench
	load   *load
}

// TestFailover has the first of two servers die, hang and turn read-only under
// load: mail goes to the second, and back when the first is well.
func TestFailover(t *testing.T) {
	if testing.Short() {
		t.Skip("starts two MariaDBs")
	}
	first, second := testserver.MariaDB(t), testserver.MariaDB(t)
	log := &testserver.Journal{}
	open := func(s *testserver.MariaDBServer) *bench {
		b := &bench{whole: t, server: s, db: s.Connect(t), table: "new_mail", log: log}
		b.create(t)
		return b
	}
	p := &pair{bench: open(first), second: open(second)}
	p.load = startLoad(p.open(t, func(o *mysql.Options) {
		o.Hosts = []string{first.Addr, second.Addr}
		o.Timeout = loadTimeout
	}), p.bench)
	defer func() {
		if t.Failed() {
			t.Logf("%s", log)
		}
	}()
	p.load.progress(t, 100)
	steps := []struct {
		name      string
		ail, mend func(t *testing.T)
	}{
		{"killed", func(*testing.T) { first.Kill() }, func(t *testing.T) { first.Start(t) }},
		{"hung", func(t *testing.T) { first.Pause(t) }, func(t *testing.T) { first.Continue(t) }},
		{"read only", p.set("ON"), p.set("OFF")},
	}
	for i := range times(1, 10) * len(steps) {
		step := steps[i%len(steps)]
		t.Logf("the first server is %s", step.name)
		step.ail(t)
		p.moved(t, "takes no mail", i+1)
		p.load.progress(t, 100)
		step.mend(t)
		p.moved(t, "takes mail again", i+1)
		p.load.progress(t, 100)
	}
	p.load.stop(t)
	if n := p.load.check(t, p.bench, p.second); n > 0 {
		t.Logf("%d mails are stored though their senders were told to try again", n)
	}
}

func (p *pair) set(readOnly string) func(*testing.T) {
	return func(t *testing.T) { p.server.Exec(t, "SET GLOBAL read_only="+readOnly) }
}

// moved waits for the n-th line of a kind, and wants no more.
func (p *pair) moved(t *testing.T, text string, n int) {
	t.Helper()
	testserver.Await(t, nil, 40*time.Second, "mail does not move", func() error {
		if got := strings.Count(p.log.String(), text); got != n {
			return fmt.Errorf("%q is logged %d times, want %d", text, got, n)
		}
		return nil
	})
}
