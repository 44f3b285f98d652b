package mysql_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/mysqlproxy"
	"goguerrillad/internal/test/storetest"
)

// testCuts ends connections under load before, during and after all kinds of
// statements and replies, or delays or drops their packets. Since the store can
// reach the server, it stores an acknowledged message once, and no other message.
func testCuts(t *testing.T, b *testbed) {
	b.create(t)
	proxy := mysqlproxy.Start(t, b.server.Addr)
	l := storetest.StartLoad(t, b.open(t, func(o *mysql.Options) { o.Hosts = []string{proxy.Addr} }), b.options().Log)
	faults, hangs := mysqlproxy.Faults(), mysqlproxy.HangFaults()
	seen := map[string]int{}
	proxy.Arm(func(statement string) *mysqlproxy.Fault {
		verb, _, _ := strings.Cut(statement, " ")
		stores := verb == "INSERT" || verb == "BEGIN" || verb == "COMMIT"
		oneIn := 8
		if !stores {
			oneIn = 40 // setup and settling
		}
		if rand.IntN(oneIn) > 0 {
			return nil
		}
		f := faults[rand.IntN(len(faults))]
		if stores && rand.IntN(20) == 0 { // a hang costs seconds, and would prevent settling
			f = hangs[rand.IntN(len(hangs))]
		}
		if f.Part == 2 {
			f.Delay = time.Duration(rand.IntN(5)) * time.Millisecond
		}
		seen[fmt.Sprintf("%s %s", f.Name, verb)]++
		return &f
	})
	want := storetest.Repetitions(150, 1000)
	test.Await(t, nil, 8*time.Minute, "not enough cuts", func() error {
		if n := proxy.Cuts(); n < want {
			return fmt.Errorf("%d cuts, want %d", n, want)
		}
		return nil
	})
	proxy.Arm(nil)
	l.AwaitProgress(t, 20)
	l.Stop(t)
	if n := l.Verify(t, b.rows(t)); n > 0 {
		t.Errorf("%d failed messages are stored\n%s", n, b.log)
	}
	t.Logf("%d cuts: %v", proxy.Cuts(), seen)
}

// testLeaks loses one connection for each message. Every message is stored, and
// neither the process nor the server keeps a descriptor or session.
func testLeaks(t *testing.T, b *testbed) {
	outages := storetest.Repetitions(200, 1000)
	b.create(t)
	proxy := mysqlproxy.Start(t, b.server.Addr)
	s := b.open(t, func(o *mysql.Options) { o.Hosts = []string{proxy.Addr} })
	defer s.Close()
	saveOne(t, s, nil)
	descriptors, sessions := openFiles(t), len(b.sessionIDs(t))
	faults := mysqlproxy.Faults()
	for n := range outages {
		proxy.Once("VALUES", faults[n%len(faults)])
		saveOne(t, s, nil)
	}
	if rows := b.rows(t); len(rows) != outages+1 {
		t.Errorf("%d rows, want %d", len(rows), outages+1)
	}
	test.Await(t, nil, 10*time.Second, "connections are left", func() error {
		if d, n := openFiles(t), len(b.sessionIDs(t)); d > descriptors+2 || n > sessions {
			return fmt.Errorf("%d descriptors and %d sessions, %d and %d before", d, n, descriptors, sessions)
		}
		return nil
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}
