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
	"goguerrillad/internal/test/storetest"
)

// A pair is two servers without replication in one list of hosts. The store stores
// each message on one of them.
type pair struct {
	*testbed // of the first server
	second   *testbed
	load     *storetest.Load
}

// TestFailover kills, pauses and write-protects the first of two servers under
// load. The store uses the second server until the first server is healthy again.
func TestFailover(t *testing.T) {
	if testing.Short() {
		t.Skip("starts two MariaDBs")
	}
	first, second := servers.MariaDB(t), servers.MariaDB(t)
	log := &test.Log{}
	open := func(s *servers.MariaDBServer) *testbed {
		b := &testbed{parent: t, server: s, db: s.Connect(t), table: "new_mail", log: log}
		b.create(t)
		return b
	}
	p := &pair{testbed: open(first), second: open(second)}
	p.load = storetest.StartLoad(t, p.open(t, func(o *mysql.Options) {
		o.Hosts = []string{first.Addr, second.Addr}
		o.Timeout = storetest.LoadTimeout
	}), p.options().Log)
	defer func() {
		if t.Failed() {
			t.Logf("%s", log)
		}
	}()
	p.load.AwaitProgress(t, 100)
	steps := []struct {
		name           string
		inject, repair func(t *testing.T)
	}{
		{"killed", func(*testing.T) { first.Kill() }, func(t *testing.T) { first.Start(t) }},
		{"hung", func(t *testing.T) { first.Pause(t) }, func(t *testing.T) { first.Continue(t) }},
		{"read only", p.setReadOnly("ON"), p.setReadOnly("OFF")},
	}
	for i := range storetest.Repetitions(1, 10) * len(steps) {
		step := steps[i%len(steps)]
		t.Logf("the first server is %s", step.name)
		step.inject(t)
		p.awaitLog(t, "MySQL server unhealthy", i+1)
		p.load.AwaitProgress(t, 100)
		step.repair(t)
		p.awaitLog(t, "MySQL server healthy again", i+1)
		p.load.AwaitProgress(t, 100)
	}
	p.load.Stop(t)
	if n := p.load.Verify(t, p.rows(t), p.second.rows(t)); n > 0 {
		t.Logf("%d failed messages are stored", n)
	}
}

func (p *pair) setReadOnly(value string) func(*testing.T) {
	return func(t *testing.T) { p.server.Exec(t, "SET GLOBAL read_only="+value) }
}

// awaitLog waits until the log has n lines with the text.
func (p *pair) awaitLog(t *testing.T, text string, n int) {
	t.Helper()
	test.Await(t, nil, 40*time.Second, "no log line", func() error {
		if got := strings.Count(p.log.String(), text); got != n {
			return fmt.Errorf("%q is logged %d times, want %d", text, got, n)
		}
		return nil
	})
}

// testUnhealthyHost: the store does not dial an unhealthy host for every message.
func testUnhealthyHost(t *testing.T, b *testbed) {
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
		saveOne(t, s, nil)
	}
	if n := dials.Load(); n > 10 {
		t.Errorf("%d dials for 100 messages, want at most 10", n)
	}
}

// testOnlyHost: the store sends a message that the only host cannot store once.
func testOnlyHost(t *testing.T, b *testbed) {
	b.create(t)
	proxy := mysqlproxy.Start(t, b.server.Addr)
	s := b.open(t, func(o *mysql.Options) { o.Hosts = []string{proxy.Addr} })
	defer s.Close()
	b.server.Exec(t, "ALTER TABLE mail."+b.table+" AUTO_INCREMENT=2147483647")
	saveOne(t, s, nil)
	var sent atomic.Int32
	proxy.Arm(func(statement string) *mysqlproxy.Fault {
		if strings.Contains(statement, "VALUES") {
			sent.Add(1)
		}
		return nil
	})
	saveOne(t, s, savemail.ErrUnavailable)
	if n := sent.Load(); n != 1 {
		t.Errorf("sent %d times, want once", n)
	}
}

// testSpread: the store distributes messages evenly. It uses a host that is
// running a Save only if no host is idle.
func testSpread(t *testing.T, b *testbed) {
	b.create(t)
	var addrs []string
	counts := make([]atomic.Int32, 3)
	var delay atomic.Bool // host 1 delays its next message
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
			return &mysqlproxy.Fault{Part: 2, Reply: 2, Delay: time.Second}
		})
		addrs = append(addrs, p.Addr)
	}
	s := b.open(t, func(o *mysql.Options) { o.Hosts, o.Spread = addrs, true })
	defer s.Close()
	for range 30 {
		saveOne(t, s, nil)
	}
	for i := range counts {
		if n := counts[i].Load(); n < 8 || n > 12 {
			t.Errorf("host %d received %d of 30 messages, want 8 to 12", i, n)
		}
	}
	// A slow host is not used while another host is idle.
	delay.Store(true)
	outcomes := make(chan error, 3)
	for range 3 {
		go func() { outcomes <- save(t, s, "b@example.com")[0] }()
	}
	<-slow
	before := counts[1].Load()
	for range 20 {
		saveOne(t, s, nil)
	}
	if n := counts[1].Load(); n != before {
		t.Errorf("the slow host received %d messages, want none", n-before)
	}
	for range 3 {
		if err := <-outcomes; err != nil {
			t.Error(err)
		}
	}
}
