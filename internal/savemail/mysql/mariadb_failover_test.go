package mysql_test

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/mysqlproxy"
	"goguerrillad/internal/test/servers"
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
	first, second := servers.MariaDB(t), servers.MariaDB(t)
	log := &test.Log{}
	open := func(s *servers.MariaDBServer) *bench {
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
	test.Await(t, nil, 40*time.Second, "mail does not move", func() error {
		if got := strings.Count(p.log.String(), text); got != n {
			return fmt.Errorf("%q is logged %d times, want %d", text, got, n)
		}
		return nil
	})
}

// testAiling: a host that takes no mail costs a dial now and then, and not one
// for each mail.
func testAiling(t *testing.T, b *bench) {
	b.create(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var dials atomic.Int32
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			dials.Add(1)
			c.Close()
		}
	}()
	s := b.open(t, func(o *mysql.Options) { o.Hosts = []string{l.Addr().String(), b.server.Addr} })
	defer s.Close()
	for range 100 {
		one(t, s, nil)
	}
	if n := dials.Load(); n > 10 {
		t.Errorf("%d dials for 100 mails", n)
	}
}

// testAlone: what the only host refuses is not sent again.
func testAlone(t *testing.T, b *bench) {
	b.create(t)
	proxy := mysqlproxy.Start(t, b.server.Addr)
	s := b.open(t, func(o *mysql.Options) { o.Hosts = []string{proxy.Addr} })
	defer s.Close()
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" AUTO_INCREMENT=2147483647")
	one(t, s, nil)
	var sent atomic.Int32
	proxy.Arm(func(statement string) *mysqlproxy.Fault {
		if strings.Contains(statement, "VALUES") {
			sent.Add(1)
		}
		return nil
	})
	one(t, s, savemail.ErrUnavailable)
	if n := sent.Load(); n != 1 {
		t.Errorf("sent %d times", n)
	}
}

// testSpread: every host has its share, and one that has a Save under way gets
// the next only when all have.
func testSpread(t *testing.T, b *bench) {
	b.create(t)
	var addrs []string
	counts := make([]atomic.Int32, 3)
	var delay atomic.Bool // of the next mail to host 1
	slow := make(chan struct{}, 1)
	for i := range counts {
		p := mysqlproxy.Start(t, b.server.Addr)
		p.Arm(func(statement string) *mysqlproxy.Fault {
			if !strings.Contains(statement, "VALUES") {
				return nil
			}
			counts[i].Add(1)
			if i != 1 || !delay.CompareAndSwap(true, false) {
				return nil
			}
			slow <- struct{}{}
			return &mysqlproxy.Fault{Part: 2, Answer: 2, Delay: time.Second}
		})
		addrs = append(addrs, p.Addr)
	}
	s := b.open(t, func(o *mysql.Options) { o.Hosts, o.Spread = addrs, true })
	defer s.Close()
	for range 30 {
		one(t, s, nil)
	}
	for i := range counts {
		if n := counts[i].Load(); n < 8 || n > 12 {
			t.Errorf("host %d got %d of 30 mails", i, n)
		}
	}
	// One that is slow is passed over as long as another is free.
	delay.Store(true)
	outcomes := make(chan error, 3)
	for range 3 {
		go func() { outcomes <- save(t, s, "b@example.com")[0] }()
	}
	<-slow
	before := counts[1].Load()
	for range 20 {
		one(t, s, nil)
	}
	if n := counts[1].Load(); n != before {
		t.Errorf("the slow host got %d more mails", n-before)
	}
	for range 3 {
		if err := <-outcomes; err != nil {
			t.Error(err)
		}
	}
}
