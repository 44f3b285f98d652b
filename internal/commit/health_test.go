package commit_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/test"
)

// checked is a store with a Check.
type checked struct {
	script
	err    error
	checks int
}

func (s *checked) Check(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks++
	return s.err
}

func (s *checked) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checks
}

func (s *checked) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// TestWatch: the beginning and the end of an outage are logged without a message.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log test.Log
		s := &checked{err: errors.New("connection refused")}
		s.save = func(ctx context.Context, batch []*envelope.Envelope) []error {
			s.mu.Lock()
			defer s.mu.Unlock()
			return savemail.Outcome(len(batch), s.err)
		}
		c := commit.New(s, commit.Options{Log: log.Logger()})
		synctest.Wait()
		if up := c.Health().Up; up || log.Count("store unavailable") != 1 {
			t.Fatalf("at the start: up %v, want false, and one line; log:\n%s", up, log.String())
		}
		time.Sleep(5500 * time.Millisecond)
		s.set(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if up := c.Health().Up; !up || log.Count("store available again") != 1 {
			t.Fatalf("up %v, log:\n%s", up, log.String())
		}
		s.set(errors.New("connection reset"))
		o := newOutcomes(t)
		o.submit(c, message("a", 1, 1))
		time.Sleep(3500 * time.Millisecond)
		s.set(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if up := c.Health().Up; !up || log.Count("store unavailable") != 2 || log.Count("store available again") != 2 {
			t.Errorf("up %v, log:\n%s", up, log.String())
		}
		drain(t, c)
	})
}

// TestIdle: Checks find the beginning of an outage within 10 s while no message arrives.
// Messages replace the Checks.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &checked{script: script{save: stored}}
		c := commit.New(s, quiet(commit.Options{}))
		time.Sleep(time.Hour + time.Second)
		if n := s.count(); n != 361 {
			t.Errorf("%d Checks in an hour without a message, want 361", n)
		}
		o := newOutcomes(t)
		for i := range 100 {
			o.submit(c, message(fmt.Sprint(i), 1, 1))
			time.Sleep(9 * time.Second)
		}
		if n := s.count() - 361; n != 0 {
			t.Errorf("%d Checks while messages were saved, want 0", n)
		}
		time.Sleep(20 * time.Second)
		s.set(errors.New("connection refused"))
		began := time.Now()
		for c.Health().Up && time.Since(began) < time.Minute {
			time.Sleep(time.Second)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the outage was found after %v, want at most 10 s", took)
		}
		s.set(nil)
		time.Sleep(2 * time.Second)
		if !c.Health().Up {
			t.Errorf("%+v after the end of the outage, want up", c.Health())
		}
		drain(t, c)
	})
}

// TestReplacement: if a store was down, the first successful Check of the store that
// replaces it ends the outage.
func TestReplacement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := commit.New(&checked{script: script{save: stored}, err: errors.New("connection refused")}, quiet(commit.Options{}))
		synctest.Wait()
		c.Swap(&checked{script: script{save: stored}}, quiet(commit.Options{}))
		synctest.Wait()
		if up, since := c.Health().Up, c.Health().Since; !up || !since.Equal(time.Now()) {
			t.Errorf("up %v since %v, want up since %v", up, since, time.Now())
		}
		drain(t, c)
	})
}

// hungCheck is a store whose Check does not return before its context ends.
type hungCheck struct{ script }

func (*hungCheck) Check(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestHungCheck: a Check that hangs ends after the Timeout of a Save, and the store is
// down. Until then it is not checked.
func TestHungCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := commit.New(&hungCheck{script{save: stored}}, quiet(commit.Options{Timeout: 10 * time.Second}))
		time.Sleep(10*time.Second - time.Nanosecond)
		if h := c.Health(); h.Checked || h.Up || h.Last != nil {
			t.Errorf("before the timeout of the Check: %+v", h)
		}
		time.Sleep(2 * time.Nanosecond)
		if h := c.Health(); !h.Checked || h.Up || !errors.Is(h.Last, context.DeadlineExceeded) {
			t.Errorf("%+v, want down with DeadlineExceeded", h)
		}
		drain(t, c)
	})
}

// TestInconclusiveCheck: an outage that no Check detects is logged once, not with
// each message.
func TestInconclusiveCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log test.Log
		full := true
		s := &checked{}
		s.save = func(_ context.Context, batch []*envelope.Envelope) []error {
			if full {
				return savemail.Outcome(len(batch), errors.New("disk full"))
			}
			return savemail.Outcome(len(batch), nil)
		}
		c := commit.New(s, commit.Options{Log: log.Logger()})
		o := newOutcomes(t)
		for i := range 20 {
			o.submit(c, message(fmt.Sprint(i), 1, 1))
			time.Sleep(10 * time.Second)
		}
		if up := c.Health().Up; up || log.Count("replying 451") != 1 || log.Count("store available again") != 0 {
			t.Errorf("up %v, log:\n%s", up, log.String())
		}
		full = false
		o.submit(c, message("later", 1, 1))
		synctest.Wait()
		if up := c.Health().Up; !up || log.Count("store available again") != 1 {
			t.Errorf("up %v, log:\n%s", up, log.String())
		}
		time.Sleep(2 * time.Second)
		full = true
		o.submit(c, message("last", 1, 1))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if up := c.Health().Up; !up || log.Count("replying 451") != 2 {
			t.Errorf("up %v after two quiet minutes, log:\n%s", up, log.String())
		}
		drain(t, c)
	})
}

// TestNoChecker: a store without Check is up again when no Save has failed for a
// minute, since clients may wait for that.
func TestNoChecker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log test.Log
		s := &script{save: func(_ context.Context, batch []*envelope.Envelope) []error {
			return savemail.Outcome(len(batch), savemail.ErrUnavailable)
		}}
		c := commit.New(s, commit.Options{Log: log.Logger()})
		newOutcomes(t).submit(c, message("x", 1, 1))
		time.Sleep(10 * time.Second)
		if up := c.Health().Up; up {
			t.Error("the store is up 10 s after a failed Save")
		}
		time.Sleep(10*time.Second + time.Minute) // the message is saved again for 10 s
		if up := c.Health().Up; !up {
			t.Error("the store is down a minute after the last failed Save")
		}
		drain(t, c)
	})
}

// TestUnknownOutcomeChecksStore: an unknown outcome triggers a Check.
func TestUnknownOutcomeChecksStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log test.Log
		s := &checked{}
		s.save = func(_ context.Context, batch []*envelope.Envelope) []error {
			return savemail.Outcome(len(batch), savemail.ErrUnknown)
		}
		c := commit.New(s, commit.Options{Log: log.Logger()})
		synctest.Wait()
		s.set(errors.New("connection refused"))
		newOutcomes(t).submit(c, message("x", 1, 1))
		synctest.Wait()
		if up := c.Health().Up; up || log.Count("store unavailable") != 1 {
			t.Errorf("up %v, log:\n%s", up, log.String())
		}
		drain(t, c)
	})
}
