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

// TestGroupCommit: the first message is saved immediately. The messages that arrive
// while it is saved form batches within MaxRows and MaxBytes.
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
				o.submit(c, message("first", test.size, test.rows))
				synctest.Wait() // it is being saved
				for i := 1; i < test.n; i++ {
					o.submit(c, message(fmt.Sprint(i), test.size, test.rows))
				}
				drain(t, c)
				if got := fmt.Sprint(s.sizes()); got != test.sizes {
					t.Errorf("batches of %s, want %s", got, test.sizes)
				}
				o.want(test.n, nil)
				checkCounters(t, c.Counters(), commit.Counters{
					Batches: uint64(len(s.batches)), Messages: uint64(test.n), Rows: uint64(test.n * test.rows), Bytes: uint64(test.n * test.size),
				})
				if !s.closed {
					t.Error("the store is not closed")
				}
			})
		})
	}
}

// TestWritersAreBounded: no more than Writers Saves run concurrently.
func TestWritersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{save: slow}
		c := commit.New(s, commit.Options{Writers: 3, MaxRows: 1})
		o := newOutcomes(t)
		for i := range 20 {
			o.submit(c, message(fmt.Sprint(i), 1, 1))
		}
		drain(t, c)
		o.want(20, nil)
		if s.most != 3 {
			t.Errorf("%d concurrent Saves, want 3", s.most)
		}
	})
}

// TestHalving: a rejected batch is halved until each rejected message is alone. The
// other messages are saved, and each rejected message is logged once.
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
		o.submit(c, message("first", 1, 1))
		synctest.Wait()
		for i := range 40 {
			name := fmt.Sprint("good", i)
			if i == 7 || i == 29 || i == 30 {
				name = fmt.Sprint("bad", i)
			}
			o.submit(c, message(name, 1, 1))
		}
		drain(t, c)
		o.want(38, nil)
		o.want(3, savemail.ErrRejected)
		for _, part := range []string{"bad7-0", "bad29-0", "bad30-0"} {
			if log.Count(part) != 1 {
				t.Errorf("%d log lines contain %s, want 1", log.Count(part), part)
			}
		}
		if up := c.Health().Up; !up {
			t.Error("the store is down after it has rejected a message")
		}
	})
}

// TestPartialRejection: a store may reject one message and commit the others of the
// batch.
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
			o.submit(c, message(name, 1, 1))
		}
		drain(t, c)
		o.want(2, nil)
		o.want(1, savemail.ErrRejected)
	})
}

// TestOutageIsLoggedOnce: the log has one line for the beginning of an outage, one when
// messages no longer wait, and one for its end, whatever the number of messages.
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
			o.submit(c, message(fmt.Sprint(i), 1, 1))
			synctest.Wait()
		}
		if up, err := c.Health().Up, c.Health().Last; up || err == nil {
			t.Errorf("up %v, last error %v, want down with an error", up, err)
		}
		time.Sleep(time.Minute)
		synctest.Wait() // the messages have their outcomes
		down = false
		o.submit(c, message("later", 1, 1))
		synctest.Wait()
		if up, since := c.Health().Up, c.Health().Since; !up || !since.Equal(time.Now()) {
			t.Errorf("up %v since %v, want up since %v", up, since, time.Now())
		}
		drain(t, c)
		o.want(1, nil)
		if log.Count("store unavailable, messages wait") != 1 || log.Count("store unavailable, replying 451") != 1 ||
			log.Count("no route to the database") != 2 || log.Count("store available again") != 1 || log.Count("after=1m0s") != 1 {
			t.Errorf("log:\n%s", log.String())
		}
	})
}

// TestUnknownIsNotSavedAgain: a batch with an unknown outcome is saved once, and the
// log contains its hashes.
func TestUnknownIsNotSavedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log test.Log
		s := &script{save: func(_ context.Context, batch []*envelope.Envelope) []error {
			return savemail.Outcome(len(batch), fmt.Errorf("%w: connection lost", savemail.ErrUnknown))
		}}
		c := commit.New(s, commit.Options{Log: log.Logger()})
		o := newOutcomes(t)
		o.submit(c, message("a", 1, 2))
		drain(t, c)
		o.want(1, savemail.ErrUnknown)
		if len(s.batches) != 1 || log.Count("a-0 a-1") != 1 {
			t.Errorf("%d Saves, want 1; log:\n%s", len(s.batches), log.String())
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
			o.submit(c, message("a", 1, 1))
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
			e := message(fmt.Sprint(i), 1, 1)
			submitted[e] = time.Now()
			o.submit(c, e)
			time.Sleep(time.Second / 2)
		}
		drain(t, c)
		if len(o.errs) != 60 {
			t.Errorf("%d outcomes, want 60", len(o.errs))
		}
		for e, at := range submitted {
			if took := o.at[e].Sub(at); took > timeout {
				t.Errorf("%s: outcome after %v, want at most %v", e.From, took, timeout)
			}
		}
	})
}

// TestAlive: a store whose Saves fail in time is alive, a store whose Save is
// overdue is not.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		ignore := false // the context of the Save
		s := &script{save: func(ctx context.Context, batch []*envelope.Envelope) []error {
			if ignore {
				<-end
			}
			<-ctx.Done()
			return savemail.Outcome(len(batch), savemail.ErrUnavailable)
		}}
		c := commit.New(s, quiet(commit.Options{Timeout: 10 * time.Second}))
		o := newOutcomes(t)
		for _, ignore = range []bool{false, true} {
			o.submit(c, message("a", 1, 1))
			time.Sleep(9 * time.Second)
			if err := c.Alive(); err != nil {
				t.Errorf("Save ignores its context: %v, before the deadline: %v", ignore, err)
			}
			time.Sleep(16 * time.Second)
			if err := c.Alive(); err != nil {
				t.Errorf("Save ignores its context: %v, 15 s after the deadline: %v", ignore, err)
			}
			time.Sleep(time.Nanosecond)
			if err := c.Alive(); (err != nil) != ignore {
				t.Errorf("Save ignores its context: %v, more than 15 s after the deadline: %v", ignore, err)
			}
		}
		close(end)
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
		end := make(chan struct{})
		s := &script{save: func(ctx context.Context, batch []*envelope.Envelope) []error {
			<-end
			return stored(ctx, batch)
		}}
		c := commit.New(s, commit.Options{Timeout: 10 * time.Second, Log: log.Logger()})
		o := newOutcomes(t)
		o.submit(c, message("first", 1, 1))
		time.Sleep(time.Second)
		for i := range 3 {
			o.submit(c, message(fmt.Sprint(i), 1, 1))
		}
		time.Sleep(2 * time.Second)
		o.submit(c, message("last", 1, 1))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		o.want(3, savemail.ErrUnavailable)
		close(end)
		drain(t, c)
		o.want(2, nil)
		if log.Count("store unavailable") != 1 || log.Count("store available again") != 1 {
			t.Errorf("log:\n%s", log.String())
		}
	})
}
