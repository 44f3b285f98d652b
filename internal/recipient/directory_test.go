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

// A source is a database with one recipient, b@example.com.
type source struct {
	mu       sync.Mutex
	err      error
	asked    map[string]int // queries, by address and domain
	running  int
	most     int // maximum of running
	takes    time.Duration
	closed   bool
	closeErr error
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
		panic("query while the source is closed")
	}
	return address == "b@example.com", s.err
}

func (s *source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.closeErr
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

// A fixture is a directory with a source and a log.
type fixture struct {
	*testing.T
	*source
	d       *recipient.Directory
	log     test.Log
	changes int
}

func run(t *testing.T, keep time.Duration, f func(*fixture)) {
	synctest.Test(t, func(t *testing.T) {
		x := &fixture{T: t, source: &source{}}
		x.d = recipient.New(x.log.Logger(), func() { x.changes++ })
		x.d.Use(x.source, keep)
		f(x)
		x.d.Close()
		if !x.source.closed {
			t.Error("source is not closed")
		}
	})
}

// lookUp looks up a recipient as a session does. It returns the code of the refusal, or
// 0 if the recipient is accepted.
func (x *fixture) lookUp(address string) int {
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
	if got := x.lookUp(address); got != want || x.queries() != queries {
		x.Errorf("%s: code %d after %d queries, want %d after %d", address, got, x.queries(), want, queries)
	}
}

func TestCache(t *testing.T) {
	run(t, time.Minute, func(x *fixture) {
		x.want("b@example.com", 0, 1)
		x.want("c@example.com", 550, 2)
		time.Sleep(time.Minute - time.Nanosecond)
		x.want("b@example.com", 0, 2)
		x.want("c@example.com", 550, 2)
		time.Sleep(time.Nanosecond)
		x.want("b@example.com", 0, 3)
		x.want("c@example.com", 550, 4)
		// The case and a final dot do not change the domain; the case of the local part counts.
		x.want("b@EXAMPLE.com.", 0, 4)
		x.want("B@example.com", 550, 5)
		x.want(`"x@y"@Example.COM`, 550, 6)
		if x.asked[`"x@y"@example.com example.com`] != 1 {
			x.Errorf("queries %v, want one for \"x@y\" with a lower-case domain", x.asked)
		}
		if got, want := x.d.Stats(), (recipient.Stats{Queries: 6, Cached: 3}); got != want {
			x.Errorf("stats %+v, want %+v", got, want)
		}
	})
}

func TestNoCache(t *testing.T) {
	run(t, 0, func(x *fixture) {
		x.want("b@example.com", 0, 1)
		x.want("b@example.com", 0, 2)
	})
}

// TestConcurrentQueries: concurrent lookups of a recipient share a query, and at most
// Connections queries run at once.
func TestConcurrentQueries(t *testing.T) {
	run(t, time.Minute, func(x *fixture) {
		x.set(nil, time.Second)
		var wait sync.WaitGroup
		for i := range 300 {
			wait.Go(func() {
				if got := x.lookUp(fmt.Sprintf("c%d@example.com", i%3)); got != 550 {
					x.Errorf("code %d, want 550", got)
				}
			})
		}
		wait.Wait()
		if x.queries() != 3 || x.most != 3 {
			x.Errorf("%d queries, %d concurrent, want 3, 3", x.queries(), x.most)
		}
		for i := range 2 * recipient.Connections {
			wait.Go(func() { x.lookUp(fmt.Sprintf("d%d@example.com", i)) })
		}
		wait.Wait()
		if x.most != recipient.Connections {
			x.Errorf("%d concurrent queries, want %d", x.most, recipient.Connections)
		}
	})
}

// TestQueryFails: cached answers stay valid. Other recipients wait for 10 s and get 451,
// later ones get 451 at once. The log reports an outage at most once a minute.
func TestQueryFails(t *testing.T) {
	run(t, time.Hour, func(x *fixture) {
		x.want("b@example.com", 0, 1)
		x.want("c@example.com", 550, 2)
		x.set(errors.New("connection refused"), 0)
		begun := time.Now()
		if got := x.lookUp("d@example.com"); got != 451 {
			x.Errorf("code %d, want 451", got)
		}
		if took := time.Since(begun); took < 10*time.Second || took > 11*time.Second {
			x.Errorf("the recipient has waited for %v, want 10 s", took)
		}
		n := x.queries()
		for i := range 5 {
			x.want("d@example.com", 451, n+1+i)
		}
		x.want("b@example.com", 0, n+5)
		x.want("c@example.com", 550, n+5)
		if took := time.Since(begun); took > 11*time.Second {
			x.Errorf("further recipients have waited: %v", took)
		}
		if err := x.d.Stats().Failing; err == nil || err.Error() != "connection refused" {
			x.Errorf("Stats.Failing is %v", err)
		}
		x.set(nil, 0)
		x.want("d@example.com", 550, n+6)
		if err := x.d.Stats().Failing; err != nil || x.changes != 2 {
			x.Errorf("Stats.Failing is %v, %d changes, want 2", err, x.changes)
		}
		time.Sleep(time.Minute)
		for range 10 { // a query that fails only for some addresses
			x.set(errors.New("illegal mix of collations"), 0)
			x.lookUp("x@example.com")
			x.set(nil, 0)
			x.lookUp(time.Now().String() + "@example.com")
		}
		if n := x.log.Count("GM_RECIPIENT_QUERY failed, replying 451"); n != 3 {
			x.Errorf("failure logged %d times, want 3:\n%s", n, x.log.String())
		}
		if n := x.log.Count("GM_RECIPIENT_QUERY succeeded again"); n != 3 {
			x.Errorf("success logged %d times, want 3:\n%s", n, x.log.String())
		}
	})
}

// TestShortOutage: recipients whose query fails for less than 10 s do not get 451, and
// cached answers do not wait.
func TestShortOutage(t *testing.T) {
	run(t, time.Hour, func(x *fixture) {
		x.want("b@example.com", 0, 1)
		x.set(errors.New("connection refused"), 0)
		var wait sync.WaitGroup
		for i := range 100 {
			wait.Go(func() {
				if got := x.lookUp(fmt.Sprintf("c%d@example.com", i)); got != 550 {
					x.Errorf("code %d, want 550", got)
				}
			})
		}
		time.Sleep(8 * time.Second)
		if got := x.lookUp("b@example.com"); got != 0 {
			x.Errorf("cached answer %d, want 0", got)
		}
		x.set(nil, 0)
		wait.Wait()
		if text := x.log.String(); x.log.Count("GM_RECIPIENT_QUERY failed, recipients wait") != 1 || x.log.Count("451") > 0 {
			x.Errorf("log:\n%s", text)
		}
		if x.most > recipient.Connections {
			x.Errorf("%d concurrent queries", x.most)
		}
	})
}

// TestInvalidQuery: a query that cannot succeed is not run again.
func TestInvalidQuery(t *testing.T) {
	run(t, time.Hour, func(x *fixture) {
		x.set(fmt.Errorf("%w: no such table", recipient.ErrInvalid), 0)
		x.want("b@example.com", 451, 1)
	})
}

// TestWaitingRecipients: a source that replaces the failing one answers the recipients
// that wait. Close ends their wait.
func TestWaitingRecipients(t *testing.T) {
	for name, want := range map[string]int{"use": 0, "close": 451} {
		t.Run(name, func(t *testing.T) {
			run(t, time.Hour, func(x *fixture) {
				x.set(errors.New("connection refused"), 0)
				answer := make(chan int, 1)
				go func() { answer <- x.lookUp("b@example.com") }()
				time.Sleep(time.Second)
				begun := time.Now()
				if want == 0 {
					x.source = &source{}
					x.d.Use(x.source, time.Hour)
				} else {
					x.d.Close()
				}
				if got, took := <-answer, time.Since(begun); got != want || took > 0 {
					x.Errorf("code %d after %v, want %d at once", got, took, want)
				}
			})
		})
	}
}

// TestDatabaseHangs: every lookup ends within 15 s, also if it waits for a connection.
func TestDatabaseHangs(t *testing.T) {
	run(t, time.Hour, func(x *fixture) {
		x.set(errors.New("timeout"), time.Hour)
		begun := time.Now()
		var wait sync.WaitGroup
		for i := range 100 {
			wait.Go(func() {
				if got := x.lookUp(fmt.Sprintf("c%d@example.com", i)); got != 451 {
					x.Errorf("code %d, want 451", got)
				}
			})
		}
		wait.Wait()
		if took := time.Since(begun); took > 15*time.Second {
			x.Errorf("took %s, want at most 15s", took)
		}
	})
}

// TestUse: a new source starts with an empty cache, and the old source is closed when
// its last query has ended.
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
			x.Error("old source closed during a query")
		}
		x.want("b@example.com", 0, 1)
		if r := <-answer; code(r) != 550 {
			x.Errorf("reply %v, want 550", r)
		}
		synctest.Wait()
		if !old.closed {
			x.Error("old source is not closed")
		}
		x.want("c@example.com", 550, 2)
		x.d.Use(nil, 0)
		if r, ok := x.d.Known("c@example.com"); r != nil || !ok {
			x.Errorf("Known without a source: %v, %v, want nil, true", r, ok)
		}
	})
}

// TestCloseFails: an error of Close is logged.
func TestCloseFails(t *testing.T) {
	for _, err := range []error{nil, errLost} {
		run(t, time.Hour, func(x *fixture) {
			x.source.closeErr = err
			x.d.Close()
			if logged := x.log.Count("cannot close the connections for GM_RECIPIENT_QUERY") == 1; logged != (err != nil) {
				x.Errorf("error %v: logged is %v:\n%s", err, logged, x.log.String())
			}
		})
	}
}
