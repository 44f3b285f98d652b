package recipient_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"goguerrillad/internal/recipient"
	"goguerrillad/internal/smtp"
	"goguerrillad/internal/test"
)

// source is a database that knows one recipient.
type source struct {
	mu      sync.Mutex
	err     error
	asked   map[string]int // queries, by address and domain
	running int
	most    int // that ran at a time
	takes   time.Duration
	closed  bool
	atClose error
}

func (s *source) Has(ctx context.Context, address, domain string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked == nil {
		s.asked = map[string]int{}
	}
	s.asked[address+" "+domain]++
	s.running++
	s.most = max(s.most, s.running)
	if s.takes > 0 {
		s.mu.Unlock()
		select {
		case <-time.After(s.takes):
		case <-ctx.Done():
		}
		s.mu.Lock()
	}
	s.running--
	if s.closed {
		panic("asked after Close")
	}
	return address == "b@example.com", s.err
}

func (s *source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.atClose
}

func (s *source) set(err error, takes time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.takes = err, takes
}

func (s *source) queries() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.asked {
		n += m
	}
	return n
}

// fixture is a directory over a source, with its log.
type fixture struct {
	*testing.T
	*source
	d   *recipient.Directory
	log test.Log
}

func run(t *testing.T, keep time.Duration, f func(*fixture)) {
	synctest.Test(t, func(t *testing.T) {
		x := &fixture{T: t, source: &source{}}
		x.d = recipient.New(x.log.Logger())
		x.d.Use(x.source, keep)
		f(x)
		x.d.Close()
		if !x.source.closed {
			t.Error("the source is open")
		}
	})
}

// look asks as a session does, and returns the code: 0 for a recipient.
func (x *fixture) look(address string) int {
	if refusal, ok := x.d.Known(address); ok {
		return code(refusal)
	}
	answer := make(chan *smtp.Reply, 1)
	x.d.Ask(address, func(r *smtp.Reply) { answer <- r })
	return code(<-answer)
}

func code(r *smtp.Reply) int {
	if r == nil {
		return 0
	}
	return r.Code
}

func (x *fixture) want(address string, want, queries int) {
	x.Helper()
	if got := x.look(address); got != want || x.queries() != queries {
		x.Errorf("%s: %d after %d queries, want %d after %d", address, got, x.queries(), want, queries)
	}
}

func TestAnswersAreKept(t *testing.T) {
	run(t, time.Minute, func(x *fixture) {
		x.want("b@example.com", 0, 1)
		x.want("c@example.com", 550, 2)
		time.Sleep(time.Minute - time.Nanosecond)
		x.want("b@example.com", 0, 2)
		x.want("c@example.com", 550, 2)
		time.Sleep(time.Nanosecond)
		x.want("b@example.com", 0, 3)
		x.want("c@example.com", 550, 4)
		// The domain is one domain, however it is written; the local part is not.
		x.want("b@EXAMPLE.com.", 0, 4)
		x.want("B@example.com", 550, 5)
		x.want(`"x@y"@Example.COM`, 550, 6)
		if x.asked[`"x@y"@example.com example.com`] != 1 {
			x.Errorf("asked %v", x.asked)
		}
		if s := x.d.Stats(); s.Asked != 6 || s.Cached != 3 || s.Failed != 0 {
			x.Errorf("%+v", s)
		}
	})
}

func TestNothingIsKept(t *testing.T) {
	run(t, 0, func(x *fixture) {
		x.want("b@example.com", 0, 1)
		x.want("b@example.com", 0, 2)
	})
}

// TestOneQuestion: many who ask the same at a time cost one query, and others
// run beside it, within a bound.
func TestOneQuestion(t *testing.T) {
	run(t, time.Minute, func(x *fixture) {
		x.set(nil, time.Second)
		var wait sync.WaitGroup
		for i := range 300 {
			wait.Go(func() {
				if got := x.look(fmt.Sprintf("c%d@example.com", i%3)); got != 550 {
					x.Errorf("%d", got)
				}
			})
		}
		wait.Wait()
		if x.queries() != 3 || x.most != 3 {
			x.Errorf("%d queries, %d at a time", x.queries(), x.most)
		}
		for i := range 2 * recipient.Connections {
			wait.Go(func() { x.look(fmt.Sprintf("d%d@example.com", i)) })
		}
		wait.Wait()
		if x.most != recipient.Connections {
			x.Errorf("%d at a time", x.most)
		}
	})
}

// TestDatabaseAway: what is known stays known, nothing else is decided, and
// the log hears of it once a minute at most.
func TestDatabaseAway(t *testing.T) {
	run(t, time.Hour, func(x *fixture) {
		x.want("b@example.com", 0, 1)
		x.want("c@example.com", 550, 2)
		x.set(errors.New("connection refused"), 0)
		for i := range 5 {
			x.want("d@example.com", 451, 3+i)
		}
		x.want("b@example.com", 0, 7)
		x.want("c@example.com", 550, 7)
		x.set(nil, 0)
		x.want("d@example.com", 550, 8)
		for range 10 { // a query that fails for some alone
			x.set(errors.New("illegal mix of collations"), 0)
			x.look("x@example.com")
			x.set(nil, 0)
			x.look(time.Now().String() + "@example.com")
			time.Sleep(10 * time.Second)
		}
		if n := x.log.Count("GM_RECIPIENT_QUERY fails"); n != 2 {
			x.Errorf("%d times in the log: %s", n, x.log.String())
		}
		if n := x.log.Count("answered again"); n != 2 {
			x.Errorf("%d times in the log: %s", n, x.log.String())
		}
	})
}

// TestDatabaseHangs: every question is answered in time, those that wait for
// a connection as well.
func TestDatabaseHangs(t *testing.T) {
	run(t, time.Hour, func(x *fixture) {
		x.set(errors.New("timeout"), time.Hour)
		begun := time.Now()
		var wait sync.WaitGroup
		for i := range 100 {
			wait.Go(func() {
				if got := x.look(fmt.Sprintf("c%d@example.com", i)); got != 451 {
					x.Errorf("%d", got)
				}
			})
		}
		wait.Wait()
		if took := time.Since(begun); took != 5*time.Second {
			x.Errorf("took %s", took)
		}
	})
}

// TestUse: another source knows nothing of what the last one said, and that is
// closed when its last query has ended.
func TestUse(t *testing.T) {
	run(t, time.Hour, func(x *fixture) {
		x.want("b@example.com", 0, 1)
		x.set(nil, time.Second)
		answer := make(chan *smtp.Reply, 1)
		x.d.Ask("c@example.com", func(r *smtp.Reply) { answer <- r })
		synctest.Wait()
		old := x.source
		x.source = &source{}
		x.d.Use(x.source, time.Hour)
		if old.closed {
			x.Error("closed under a query")
		}
		x.want("b@example.com", 0, 1)
		if r := <-answer; code(r) != 550 {
			x.Errorf("%v", r)
		}
		synctest.Wait()
		if !old.closed {
			x.Error("the old source is open")
		}
		x.want("c@example.com", 550, 2)
		x.d.Use(nil, 0)
		if r, ok := x.d.Known("c@example.com"); r != nil || !ok {
			x.Errorf("%v, %v without a source", r, ok)
		}
	})
}

// TestCloseFails: the log reports an error of closing, and only an error.
func TestCloseFails(t *testing.T) {
	for _, err := range []error{nil, errLost} {
		run(t, time.Hour, func(x *fixture) {
			x.source.atClose = err
			x.d.Close()
			if logged := x.log.Count("do not close cleanly") == 1; logged != (err != nil) {
				x.Errorf("error %v, the log has\n%s", err, x.log.String())
			}
		})
	}
}
