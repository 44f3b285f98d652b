package commit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/test"
)

// TestCounters: each kind of outcome has its counter. Only a commit calls Committed,
// and only ErrUnavailable makes the store count as down.
func TestCounters(t *testing.T) {
	for _, tt := range []struct {
		name    string
		outcome error
		want    commit.Counters
		up      bool
	}{
		{"committed", nil, commit.Counters{Batches: 1, Messages: 1, Rows: 1, Bytes: 7}, true},
		{"committed for two recipients", nil, commit.Counters{Batches: 1, Messages: 1, Rows: 2, Bytes: 7}, true},
		{"rejected", savemail.ErrRejected, commit.Counters{Rejected: 1}, true},
		{"refused", savemail.ErrRefused, commit.Counters{Refused: 1}, true},
		{"unknown", savemail.ErrUnknown, commit.Counters{Unknown: 1}, true},
		{"unavailable", savemail.ErrUnavailable, commit.Counters{Unavailable: 1}, false},
		{"another error", errors.New("disk full"), commit.Counters{Unavailable: 1}, false},
		{"unknown and unavailable", fmt.Errorf("%w: %w", savemail.ErrUnknown, savemail.ErrUnavailable), commit.Counters{Unknown: 1}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{save: func(_ context.Context, batch []*envelope.Envelope) []error {
					return savemail.Outcome(len(batch), tt.outcome)
				}}
				committed, rows := "", max(1, int(tt.want.Rows))
				c := commit.New(s, quiet(commit.Options{Committed: func(took time.Duration, rows int) { committed += fmt.Sprint(rows, " in ", took) }}))
				o := newOutcomes(t)
				o.submit(c, message("a", 7, rows))
				synctest.Wait()
				if up := c.Health().Up; up != tt.up {
					t.Errorf("up is %v, want %v", up, tt.up)
				}
				drain(t, c)
				o.want(1, tt.outcome)
				checkCounters(t, c.Counters(), tt.want)
				want := ""
				if tt.outcome == nil {
					want = fmt.Sprint(rows, " in 0s")
				}
				if committed != want {
					t.Errorf("Committed was called with %q, want %q", committed, want)
				}
			})
		})
	}
}

// TestQueued: Queued counts the messages that wait for a writer, not the messages
// that a writer saves.
func TestQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := commit.New(&script{save: slow}, quiet(commit.Options{MaxRows: 1}))
		o := newOutcomes(t)
		for i := range 3 {
			o.submit(c, message(fmt.Sprint(i), 1, 1))
		}
		for _, want := range []int{2, 1, 0, 0} {
			synctest.Wait()
			if got := c.Counters().Queued; got != want {
				t.Errorf("Queued is %d, want %d", got, want)
			}
			time.Sleep(time.Second)
		}
		drain(t, c)
	})
}

// TestNothingAfterFailure: when the store fails while a rejected batch is halved,
// no other part of that batch is tried.
func TestNothingAfterFailure(t *testing.T) {
	for _, failure := range []error{savemail.ErrUnavailable, savemail.ErrUnknown} {
		for fails := range 8 {
			synctest.Test(t, func(t *testing.T) {
				first, singles := true, 0
				s := &script{save: func(ctx context.Context, batch []*envelope.Envelope) []error {
					switch {
					case first:
						first = false
						return slow(ctx, batch)
					case len(batch) > 1:
						return savemail.Outcome(len(batch), savemail.ErrRejected)
					}
					singles++
					if singles > fails+1 {
						t.Errorf("message %d is saved after message %d has failed", singles-1, fails)
					}
					if singles == fails+1 {
						return savemail.Outcome(1, failure)
					}
					return savemail.Outcome(1, savemail.ErrRejected)
				}}
				c := commit.New(s, quiet(commit.Options{}))
				o := newOutcomes(t)
				o.submit(c, message("first", 1, 1))
				synctest.Wait()
				for i := range 8 {
					o.submit(c, message(fmt.Sprint(i), 1, 1))
				}
				drain(t, c)
				want := commit.Counters{Batches: 1, Messages: 1, Rows: 1, Bytes: 1, Rejected: uint64(fails), Unavailable: uint64(7 - fails)}
				if failure == savemail.ErrUnknown {
					want.Unknown++
				} else {
					want.Unavailable++
				}
				checkCounters(t, c.Counters(), want)
			})
		}
	}
}

// TestReplacedStore: the last Saves of a replaced store do not change the state of the
// current store, and neither do Saves that Drain has canceled.
func TestReplacedStore(t *testing.T) {
	for _, tt := range []struct {
		name     string
		old      error
		down, up bool // the new store before and after
	}{
		{"the old store fails", savemail.ErrUnavailable, false, true},
		{"the old store has an unknown outcome", savemail.ErrUnknown, false, true},
		{"the old store saves", nil, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log test.Log
				old := &script{save: func(_ context.Context, batch []*envelope.Envelope) []error {
					time.Sleep(10 * time.Second)
					return savemail.Outcome(len(batch), tt.old)
				}}
				c := commit.New(old, commit.Options{Log: log.Logger()})
				o := newOutcomes(t)
				o.submit(c, message("a", 1, 1))
				synctest.Wait()
				replacement := &checked{script: script{save: stored}}
				if tt.down {
					replacement.err = errors.New("connection refused")
				}
				c.Swap(replacement, commit.Options{Log: log.Logger()})
				time.Sleep(10 * time.Second)
				synctest.Wait()
				o.want(1, tt.old)
				up, last := c.Health().Up, c.Health().Last
				if up != tt.up || errors.Is(last, savemail.ErrUnknown) || log.Count("store unavailable") > 0 == tt.up || log.Count("store available again") > 0 {
					t.Errorf("up is %v, want %v; last error %v; log:\n%s", up, tt.up, last, log.String())
				}
				drain(t, c)
			})
		})
	}
	t.Run("drain", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var log test.Log
			s := &script{save: func(ctx context.Context, batch []*envelope.Envelope) []error {
				<-ctx.Done()
				return savemail.Outcome(len(batch), savemail.ErrUnavailable)
			}}
			c := commit.New(s, commit.Options{Log: log.Logger()})
			newOutcomes(t).submit(c, message("a", 1, 1))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := c.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Drain returns %v, want DeadlineExceeded", err)
			}
			synctest.Wait()
			if log.Count("store unavailable") > 0 {
				t.Errorf("the store is down after a canceled Save; log:\n%s", log.String())
			}
		})
	})
}

// TestDefaults: an option that is zero or negative has its default.
func TestDefaults(t *testing.T) {
	for name, o := range map[string]commit.Options{
		"zero":     {Writers: 2},
		"negative": {Writers: 2, ExtraWriters: -1, MinBatch: -1, MaxRows: -1, MaxBytes: -1, Timeout: -1},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			left := map[string]time.Duration{} // of a Save, by its first message
			s := &script{}
			s.save = func(ctx context.Context, batch []*envelope.Envelope) []error {
				deadline, _ := ctx.Deadline()
				s.mu.Lock()
				left[batch[0].From] = deadline.Sub(start)
				s.mu.Unlock()
				return slow(ctx, batch)
			}
			c := commit.New(s, quiet(o))
			out := newOutcomes(t)
			for i := range 2 {
				out.submit(c, message(fmt.Sprint(i), 1, 1))
				synctest.Wait() // each is saved immediately
			}
			if left["0"] != time.Minute || left["1"] != time.Minute {
				t.Errorf("%s: the Saves have the timeouts %v, want 1m each", name, left)
			}
			for i, size := range []int{1 << 19, 1 << 19, 1 << 19, 1<<19 + 1} {
				out.submit(c, message(fmt.Sprint(2+i), size, 1))
			}
			drain(t, c)
			out.want(6, nil)
			// Two writers save concurrently, so the batches have no order.
			if got := slices.Sorted(slices.Values(s.sizes())); !slices.Equal(got, []int{1, 1, 1, 1, 2}) {
				t.Errorf("%s: batches of %v, want one of 2 and four of 1", name, got)
			}
		})
	}
}
