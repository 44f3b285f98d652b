package commit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/test"
)

func TestGroupCommit(t *testing.T) {
	for _, test := range []struct {
		name          string
		options       commit.Options
		n, size, rows int
		sizes         string
	}{
		{name: "rows", n: 100, size: 10, rows: 1, sizes: "[1 50 49]"},
		{name: "rows of many recipients", n: 10, size: 10, rows: 20, sizes: "[1 2 2 2 2 1]"},
		{name: "more recipients than rows", n: 3, size: 10, rows: 100, sizes: "[1 1 1]"},
		{name: "bytes", n: 9, size: 300, rows: 1, sizes: "[1 3 3 2]", options: commit.Options{MaxBytes: 1000}},
		{name: "bytes that just fit", n: 5, size: 500, rows: 1, sizes: "[1 2 2]", options: commit.Options{MaxBytes: 1000}},
		{name: "one byte more", n: 5, size: 500, rows: 1, sizes: "[1 1 1 1 1]", options: commit.Options{MaxBytes: 999}},
		{name: "bytes times recipients", n: 5, size: 300, rows: 2, sizes: "[1 1 1 1 1]", options: commit.Options{MaxBytes: 1000}},
		{name: "empty messages", n: 60, size: 0, rows: 1, sizes: "[1 50 9]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{save: slow}
				c := commit.New(s, quiet(test.options))
				o := newOutcomes(t)
				o.submit(c, mail("first", test.size, test.rows))
				synctest.Wait() // it is being saved
				for i := 1; i < test.n; i++ {
					o.submit(c, mail(fmt.Sprint(i), test.size, test.rows))
				}
				drain(t, c)
				if got := fmt.Sprint(s.sizes()); got != test.sizes {
					t.Errorf("batches of %s, want %s", got, test.sizes)
				}
				o.want(test.n, nil)
				counters := c.Counters()
				if want := (commit.Counters{Batches: uint64(len(s.batches)), Messages: uint64(test.n), Rows: uint64(test.n * test.rows), Bytes: uint64(test.n * test.size)}); counters != want {
					t.Errorf("counters %+v, want %+v", counters, want)
				}
				if !s.closed {
					t.Error("the store is not closed")
				}
			})
		})
	}
}

func TestWritersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{save: slow}
		c := commit.New(s, commit.Options{Writers: 3, MaxRows: 1})
		o := newOutcomes(t)
		for i := range 20 {
			o.submit(c, mail(fmt.Sprint(i), 1, 1))
		}
		drain(t, c)
		o.want(20, nil)
		if s.most != 3 {
			t.Errorf("%d concurrent Saves, want 3", s.most)
		}
	})
}

func TestHalving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log test.Log
		first := true
		s := &script{save: func(ctx context.Context, batch []*envelope.Envelope) []error {
			if first {
				first = false
				return slow(ctx, batch)
			}
			for _, e := range batch {
				if strings.HasPrefix(e.From, "bad") {
					return savemail.Outcome(len(batch), fmt.Errorf("%w: it is %s", savemail.ErrRejected, e.From))
				}
			}
			return stored(ctx, batch)
		}}
		c := commit.New(s, commit.Options{Log: log.Logger()})
		o := newOutcomes(t)
		o.submit(c, mail("first", 1, 1))
		synctest.Wait()
		for i := range 40 {
			name := fmt.Sprint("good", i)
			if i == 7 || i == 29 || i == 30 {
				name = fmt.Sprint("bad", i)
			}
			o.submit(c, mail(name, 1, 1))
		}
		drain(t, c)
		o.want(38, nil)
		o.want(3, savemail.ErrRejected)
		for _, part := range []string{"bad7-0", "bad29-0", "bad30-0"} {
			if log.Count(part) != 1 {
				t.Errorf("%d log lines contain %s, want 1", log.Count(part), part)
			}
		}
		if up, _, _ := c.State(); !up {
			t.Error("a store that rejects a message counts as down")
		}
	})
}

func TestPartialRejection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{save: func(ctx context.Context, batch []*envelope.Envelope) []error {
			errs := stored(ctx, batch)
			for i, e := range batch {
				if e.From == "bad" {
					errs[i] = savemail.ErrRejected
				}
			}
			return errs
		}}
		c := commit.New(s, quiet(commit.Options{}))
		o := newOutcomes(t)
		for _, name := range []string{"a", "bad", "b"} {
			o.submit(c, mail(name, 1, 1))
		}
		drain(t, c)
		o.want(2, nil)
		o.want(1, savemail.ErrRejected)
	})
}

func TestOutageIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log test.Log
		down := true
		s := &script{}
		s.save = func(ctx context.Context, batch []*envelope.Envelope) []error {
			if down {
				return savemail.Outcome(len(batch), errors.New("no route to the database"))
			}
			return stored(ctx, batch)
		}
		c := commit.New(s, commit.Options{Log: log.Logger()})
		o := newOutcomes(t)
		for i := range 5 {
			o.submit(c, mail(fmt.Sprint(i), 1, 1))
			synctest.Wait()
		}
		if up, _, err := c.State(); up || err == nil {
			t.Errorf("up %v, last error %v", up, err)
		}
		time.Sleep(time.Minute)
		down = false
		o.submit(c, mail("later", 1, 1))
		synctest.Wait()
		if up, since, _ := c.State(); !up || !since.Equal(time.Now()) {
			t.Errorf("up %v since %v", up, since)
		}
		drain(t, c)
		o.want(1, nil)
		if log.Count("store unavailable") != 1 || log.Count("no route to the database") != 1 || log.Count("store available again") != 1 || log.Count("after=1m0s") != 1 {
			t.Errorf("log:\n%s", log.String())
		}
	})
}

func TestUnknownIsNotSavedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log test.Log
		s := &script{save: func(_ context.Context, batch []*envelope.Envelope) []error {
			return savemail.Outcome(len(batch), fmt.Errorf("%w: connection lost", savemail.ErrUnknown))
		}}
		c := commit.New(s, commit.Options{Log: log.Logger()})
		o := newOutcomes(t)
		o.submit(c, mail("a", 1, 2))
		drain(t, c)
		o.want(1, savemail.ErrUnknown)
		if len(s.batches) != 1 || log.Count("a-0 a-1") != 1 {
			t.Errorf("%d Saves, log:\n%s", len(s.batches), log.String())
		}
	})
}

// TestWrongNumberOfOutcomes: a missing outcome counts as ErrUnknown, and a surplus
// outcome is ignored.
func TestWrongNumberOfOutcomes(t *testing.T) {
	for n, want := range []error{savemail.ErrUnknown, nil, nil} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{save: func(context.Context, []*envelope.Envelope) []error { return make([]error, n) }}
			c := commit.New(s, quiet(commit.Options{}))
			o := newOutcomes(t)
			o.submit(c, mail("a", 1, 1))
			drain(t, c)
			o.want(1, want)
		})
	}
}

// TestHungStore: every envelope has an outcome within the timeout although no Save
// returns before its context ends.
func TestHungStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 10 * time.Second
		c := commit.New(&script{save: hung}, quiet(commit.Options{Timeout: timeout, MaxRows: 2, Writers: 2}))
		o := newOutcomes(t)
		submitted := map[*envelope.Envelope]time.Time{}
		for i := range 60 {
			e := mail(fmt.Sprint(i), 1, 1)
			submitted[e] = time.Now()
			o.submit(c, e)
			time.Sleep(time.Second / 2)
		}
		drain(t, c)
		if len(o.errs) != 60 {
			t.Errorf("%d outcomes", len(o.errs))
		}
		for e, at := range submitted {
			if took := o.at[e].Sub(at); took > timeout {
				t.Errorf("%s: outcome after %v", e.From, took)
			}
		}
	})
}

// settling is a store whose Settle takes an hour.
type settling struct{ script }

func (s *settling) Settle(ctx context.Context) {
	select {
	case <-time.After(time.Hour):
	case <-ctx.Done():
	}
}

// TestSettler: a replaced store is closed after Settle. The drain does not wait for
// Settle.
func TestSettler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second, third := &settling{script{save: stored}}, &settling{script{save: stored}}, &script{save: stored}
		c := commit.New(first, quiet(commit.Options{}))
		begun := time.Now()
		c.Swap(second, quiet(commit.Options{}))
		time.Sleep(59 * time.Minute)
		c.Swap(third, quiet(commit.Options{}))
		closed := func(s *script) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.closed
		}
		if closed(&first.script) {
			t.Error("closed before Settle has returned")
		}
		time.Sleep(2 * time.Minute)
		if !closed(&first.script) || closed(&second.script) {
			t.Errorf("after an hour the first is closed: %v, the second: %v", closed(&first.script), closed(&second.script))
		}
		drain(t, c)
		if took := time.Since(begun); took > 61*time.Minute || !closed(&second.script) {
			t.Errorf("the drain ends after %v, the second is closed: %v", took, closed(&second.script))
		}
	})
}

// TestAlive: a store whose Saves fail in time is alive, a store whose Save is
// overdue is not.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wake := make(chan struct{})
		deaf := false
		s := &script{save: func(ctx context.Context, batch []*envelope.Envelope) []error {
			if deaf {
				<-wake
			}
			<-ctx.Done()
			return savemail.Outcome(len(batch), savemail.ErrUnavailable)
		}}
		c := commit.New(s, quiet(commit.Options{Timeout: 10 * time.Second}))
		o := newOutcomes(t)
		for _, deaf = range []bool{false, true} {
			o.submit(c, mail("a", 1, 1))
			time.Sleep(9 * time.Second)
			if err := c.Alive(); err != nil {
				t.Errorf("ignores its context %v, in time: %v", deaf, err)
			}
			time.Sleep(16 * time.Second)
			if err := c.Alive(); err != nil {
				t.Errorf("ignores its context %v, overdue for 15 s: %v", deaf, err)
			}
			time.Sleep(time.Nanosecond)
			if err := c.Alive(); (err != nil) != deaf {
				t.Errorf("ignores its context %v, overdue for more than 15 s: %v", deaf, err)
			}
		}
		close(wake)
		synctest.Wait()
		if err := c.Alive(); err != nil {
			t.Error(err)
		}
		drain(t, c)
	})
}

// TestStoreIgnoresContext: queued envelopes have their outcomes in time although
// Saves do not return when their context ends.
func TestStoreIgnoresContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log test.Log
		wake := make(chan struct{})
		s := &script{save: func(ctx context.Context, batch []*envelope.Envelope) []error {
			<-wake
			return stored(ctx, batch)
		}}
		c := commit.New(s, commit.Options{Timeout: 10 * time.Second, Log: log.Logger()})
		o := newOutcomes(t)
		o.submit(c, mail("first", 1, 1))
		time.Sleep(time.Second)
		for i := range 3 {
			o.submit(c, mail(fmt.Sprint(i), 1, 1))
		}
		time.Sleep(2 * time.Second)
		o.submit(c, mail("last", 1, 1))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		o.want(3, savemail.ErrUnavailable)
		close(wake)
		drain(t, c)
		o.want(2, nil)
		if log.Count("store unavailable") != 1 || log.Count("store available again") != 1 {
			t.Errorf("log:\n%s", log.String())
		}
	})
}

func TestSwap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, after := &script{save: slow}, &script{save: stored}
		c := commit.New(before, commit.Options{Writers: 2, MaxRows: 1})
		o := newOutcomes(t)
		for i := range 10 {
			o.submit(c, mail(fmt.Sprint(i), 1, 1))
		}
		synctest.Wait()
		c.Swap(after, quiet(commit.Options{}))
		synctest.Wait()
		if before.closed || len(before.batches) != 2 {
			t.Errorf("the old store: closed %v, %d batches", before.closed, len(before.batches))
		}
		o.want(8, nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !before.closed {
			t.Error("the old store is not closed")
		}
		drain(t, c)
		o.want(10, nil)
		if !after.closed || len(before.batches) != 2 {
			t.Errorf("new store closed %v, old store had %d batches", after.closed, len(before.batches))
		}
		late := &script{save: stored}
		c.Swap(late, quiet(commit.Options{}))
		if !late.closed {
			t.Error("a store that is swapped in after the drain is not closed")
		}
		o.submit(c, mail("late", 1, 1))
		synctest.Wait()
		o.want(1, savemail.ErrUnavailable)
	})
}

// TestSwapTimeout: the Timeout of the new options applies to queued messages.
func TestSwapTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := commit.New(&script{save: hung}, quiet(commit.Options{MaxRows: 1}))
		o := newOutcomes(t)
		for _, from := range []string{"in the old store", "in the new store", "queued"} {
			o.submit(c, mail(from, 1, 1))
		}
		synctest.Wait()
		c.Swap(&script{save: hung}, quiet(commit.Options{MaxRows: 1, Timeout: 10 * time.Second}))
		time.Sleep(5*time.Second - time.Nanosecond)
		o.want(0, savemail.ErrUnavailable)
		time.Sleep(2 * time.Nanosecond)
		o.want(1, savemail.ErrUnavailable)
		drain(t, c)
		o.want(2, savemail.ErrUnknown)
	})
}

func TestDrainTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{save: hung}
		c := commit.New(s, quiet(commit.Options{MaxRows: 1}))
		o := newOutcomes(t)
		for i := range 5 {
			o.submit(c, mail(fmt.Sprint(i), 1, 1))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := c.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain: %v", err)
		}
		synctest.Wait()
		if len(o.errs) != 5 || !s.closed || len(s.batches) != 1 {
			t.Errorf("%d outcomes, closed %v, %d batches", len(o.errs), s.closed, len(s.batches))
		}
		drain(t, c)
	})
}
