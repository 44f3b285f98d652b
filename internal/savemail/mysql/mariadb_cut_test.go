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
)

// testCuts ends connections before, in and behind every kind of statement, and
// in its answer, delays or swallows one and the other, while mail streams in.
// The server can be asked all the time: nothing is lost, doubled, stored in part, or refused though it is stored.
func testCuts(t *testing.T, b *bench) {
	b.create(t)
	proxy := mysqlproxy.Start(t, b.server.Addr)
	l := startLoad(b.open(t, func(o *mysql.Options) { o.Hosts = []string{proxy.Addr} }), b)
	faults, swallows := mysqlproxy.Faults(), mysqlproxy.Swallows()
	seen := map[string]int{}
	proxy.Arm(func(statement string) *mysqlproxy.Fault {
		verb, _, _ := strings.Cut(statement, " ")
		mails := verb == "INSERT" || verb == "BEGIN" || verb == "COMMIT"
		of := 8
		if !mails {
			of = 40 // setting up, and settling
		}
		if rand.IntN(of) > 0 {
			return nil
		}
		f := faults[rand.IntN(len(faults))]
		if mails && rand.IntN(20) == 0 { // each costs seconds; while settling, the server could not be asked
			f = swallows[rand.IntN(len(swallows))]
		}
		if f.Part == 2 {
			f.Delay = time.Duration(rand.IntN(5)) * time.Millisecond
		}
		seen[fmt.Sprintf("%s %s", f.Name, verb)]++
		return &f
	})
	want := times(150, 1000)
	test.Await(t, nil, 8*time.Minute, "not enough cuts", func() error {
		if n := proxy.Cuts(); n < want {
			return fmt.Errorf("%d, want %d", n, want)
		}
		return nil
	})
	proxy.Arm(nil)
	l.progress(t, 20)
	l.stop(t)
	if n := l.check(t, b); n > 0 {
		t.Errorf("%d mails are stored though their senders were told to try again\n%s", n, b.log)
	}
	t.Logf("%d cuts: %v", proxy.Cuts(), seen)
}

// testLeaks loses many connections, one in each message: every message is
// stored, and nothing is left of the connections on either side.
func testLeaks(t *testing.T, b *bench) {
	outages := times(200, 1000)
	b.create(t)
	proxy := mysqlproxy.Start(t, b.server.Addr)
	s := b.open(t, func(o *mysql.Options) { o.Hosts = []string{proxy.Addr} })
	defer s.Close()
	one(t, s, nil)
	descriptors, sessions := openFiles(t), b.sessions(t)
	faults := mysqlproxy.Faults()
	for n := range outages {
		proxy.Once("VALUES", faults[n%len(faults)])
		one(t, s, nil)
	}
	if rows := b.rows(t); len(rows) != outages+1 {
		t.Errorf("%d rows", len(rows))
	}
	test.Await(t, nil, 10*time.Second, "something is left", func() error {
		if d, n := openFiles(t), b.sessions(t); d > descriptors+2 || n > sessions {
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

// sessions returns how many the server has of our user.
func (b *bench) sessions(t *testing.T) (n int) {
	t.Helper()
	if err := b.db.QueryRow("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER='goguerrilla'").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
