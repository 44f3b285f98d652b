package commit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
)

// An expirer is a script that deletes messages.
type expirer struct {
	script
	expire func(ctx context.Context, before time.Time) (savemail.Expired, error)

	expiring sync.Mutex
	calls    []time.Time
}

func (e *expirer) Expire(ctx context.Context, before time.Time) (savemail.Expired, error) {
	e.expiring.Lock()
	e.calls = append(e.calls, time.Now())
	e.expiring.Unlock()
	return e.expire(ctx, before)
}

// takes returns a deletion of one message, with more left, that takes this time.
func takes(d time.Duration) func(context.Context, time.Time) (savemail.Expired, error) {
	return func(context.Context, time.Time) (savemail.Expired, error) {
		time.Sleep(d)
		return savemail.Expired{Rows: 1, More: true}, nil
	}
}

// since returns the times of the calls as durations.
func (e *expirer) since(start time.Time) (list []time.Duration) {
	e.expiring.Lock()
	defer e.expiring.Unlock()
	for _, at := range e.calls {
		list = append(list, at.Sub(start))
	}
	return list
}

// TestRetention: without messages, pieces follow each other with pauses of their duration,
// and the next sweep after 15 s.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		oldest := start.Add(-30 * time.Minute)
		left := 3
		store := &expirer{script: script{save: stored}}
		store.expire = func(_ context.Context, before time.Time) (savemail.Expired, error) {
			if want := time.Now().Add(-time.Hour); !before.Equal(want) {
				t.Errorf("Expire of messages before %v, want %v", before, want)
			}
			if left == 0 {
				return savemail.Expired{Oldest: oldest}, nil
			}
			time.Sleep(10 * time.Millisecond)
			left--
			return savemail.Expired{Rows: 7, More: left > 0, Oldest: oldest}, nil
		}
		c := commit.New(store, quiet(commit.Options{Keep: time.Hour}))
		time.Sleep(20 * time.Second)
		drain(t, c)
		want := []time.Duration{0, 20 * time.Millisecond, 40 * time.Millisecond, 15*time.Second + 50*time.Millisecond}
		if got := store.since(start); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("Expire called after %v, want %v", got, want)
		}
		if got, want := c.Retention(), (commit.Retention{Keep: time.Hour, Deleted: 21, Oldest: oldest}); got != want {
			t.Errorf("Retention is %+v, want %+v", got, want)
		}
	})
}

// TestMessagesFirst: a piece waits for a Save, but no longer than 100 ms, and no message
// waits for a piece.
func TestMessagesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store := &expirer{script: script{save: slow}}
		store.expire = func(ctx context.Context, _ time.Time) (savemail.Expired, error) {
			<-ctx.Done() // hangs
			return savemail.Expired{}, ctx.Err()
		}
		o := newOutcomes(t)
		c := commit.New(store, quiet(commit.Options{Keep: time.Hour, Timeout: 20 * time.Second}))
		first, second := message("first", 1, 1), message("second", 1, 1)
		o.submit(c, first)
		synctest.Wait()
		time.Sleep(500 * time.Millisecond)
		o.submit(c, second)
		time.Sleep(3 * time.Second)
		o.want(2, nil)
		if got := o.at[second].Sub(start); got != 2*time.Second {
			t.Errorf("the second message is stored after %v, want 2 s", got)
		}
		if got := store.since(start); len(got) != 1 || got[0] > 101*time.Millisecond {
			t.Errorf("Expire called after %v, want once after 100 ms at most", got)
		}
		drain(t, c) // interrupts Expire
		if got := time.Since(start); got > 4*time.Second {
			t.Errorf("drained after %v", got)
		}
	})
}

// TestBusyPause: while messages arrive, the pause after a piece is nine times its duration.
func TestBusyPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store := &expirer{script: script{save: stored}}
		store.expire = takes(10 * time.Millisecond)
		o := newOutcomes(t)
		c := commit.New(store, quiet(commit.Options{Keep: time.Hour}))
		time.Sleep(5 * time.Millisecond)
		o.submit(c, message("during the first piece", 1, 1))
		time.Sleep(50 * time.Millisecond)
		o.submit(c, message("before the second", 1, 1))
		time.Sleep(200 * time.Millisecond)
		drain(t, c)
		want := []time.Duration{0, 100 * time.Millisecond, 200 * time.Millisecond, 220 * time.Millisecond, 240 * time.Millisecond}
		if got := store.since(start); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("Expire called after %v, want %v", got, want)
		}
	})
}

// TestPieceAtIdle: a piece that waits for a Save begins when the Save ends, and one that waits
// for two begins when the second ends.
func TestPieceAtIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store := &expirer{script: script{save: func(_ context.Context, batch []*envelope.Envelope) []error {
			time.Sleep(25*time.Millisecond + 100*time.Microsecond)
			return make([]error, len(batch))
		}}}
		store.expire = takes(20 * time.Millisecond)
		o := newOutcomes(t)
		c := commit.New(store, quiet(commit.Options{Keep: time.Hour}))
		time.Sleep(39 * time.Millisecond)
		o.submit(c, message("first", 1, 1))
		time.Sleep(10 * time.Millisecond)
		o.submit(c, message("second", 1, 1))
		time.Sleep(51 * time.Millisecond)
		o.want(2, nil)
		want := []time.Duration{0, 39*time.Millisecond + 2*(25*time.Millisecond+100*time.Microsecond)}
		if got := store.since(start); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("Expire called after %v, want %v", got, want)
		}
		drain(t, c)
	})
}

// TestRetentionError: an error is logged once until it changes, an outage is not logged, and
// the next attempt follows after 15 s.
func TestRetentionError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		errs := []error{errors.New("no index"), errors.New("no index"), savemail.ErrUnavailable, nil, errors.New("no right")}
		store := &expirer{script: script{save: stored}}
		store.expire = func(context.Context, time.Time) (savemail.Expired, error) {
			err := errs[0]
			errs = errs[1:]
			return savemail.Expired{More: true}, err
		}
		var log bytes.Buffer
		c := commit.New(store, commit.Options{Keep: time.Hour, Log: slog.New(slog.NewTextHandler(&log, nil))})
		for _, want := range []string{"no index", "no index", "store unavailable"} {
			synctest.Wait()
			if err := c.Retention().Err; err == nil || err.Error() != want {
				t.Errorf("the error is %v, want %s", err, want)
			}
			time.Sleep(15 * time.Second)
		}
		time.Sleep(time.Second)
		drain(t, c)
		if got := strings.Count(log.String(), "old messages cannot be deleted"); got != 2 {
			t.Errorf("%d warnings, want 2: %s", got, log.String())
		}
	})
}

// TestRetentionSwap: after a reload only the new store deletes, by the new age.
func TestRetentionSwap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store := func(keep time.Duration) *expirer {
			return &expirer{script: script{save: stored}, expire: func(_ context.Context, before time.Time) (savemail.Expired, error) {
				if age := time.Since(before); age != keep {
					t.Errorf("messages older than %v deleted, want %v", age, keep)
				}
				return savemail.Expired{Rows: 1}, nil
			}}
		}
		old, next, last := store(time.Hour), store(2*time.Hour), store(0)
		c := commit.New(old, quiet(commit.Options{Keep: time.Hour}))
		time.Sleep(time.Second)
		c.Swap(next, quiet(commit.Options{Keep: 2 * time.Hour}))
		time.Sleep(time.Second)
		c.Swap(last, quiet(commit.Options{}))
		time.Sleep(time.Hour)
		if got := [3]int{len(old.since(start)), len(next.since(start)), len(last.since(start))}; got != [3]int{1, 1, 0} {
			t.Errorf("calls of Expire: %v, want 1, 1, 0", got)
		}
		if got := c.Retention(); got != (commit.Retention{Deleted: 2}) {
			t.Errorf("Retention is %+v, want 2 deleted rows", got)
		}
		drain(t, c)
	})
}
