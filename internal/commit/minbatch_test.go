package commit_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/envelope"
)

// TestMinBatch: while a Save runs, another begins for MinBatch messages, for
// MaxBytes, or when the first message has waited for 5 ms. Without a running Save it
// begins immediately.
func TestMinBatch(t *testing.T) {
	type step struct{ at, messages int } // at in milliseconds
	for _, tt := range []struct {
		name       string
		size, rows int // of a message
		submit     []step
		saves      []step
	}{
		{"one after the other", 1, 1, []step{{0, 1}, {1, 1}}, []step{{0, 1}, {6, 1}}},
		{"the first message counts", 1, 1, []step{{0, 1}, {1, 1}, {4, 1}}, []step{{0, 1}, {6, 2}}},
		{"one less than MinBatch", 1, 10, []step{{0, 1}, {1, 3}}, []step{{0, 1}, {6, 3}}},
		{"MinBatch", 1, 1, []step{{0, 1}, {1, 4}}, []step{{0, 1}, {1, 4}}},
		{"MinBatch in two steps, then fewer", 1, 1, []step{{0, 1}, {1, 1}, {2, 3}, {7, 1}}, []step{{0, 1}, {2, 4}, {12, 1}}},
		{"large", 500, 2, []step{{0, 1}, {1, 1}}, []step{{0, 1}, {1, 1}}},
		{"large, and one more", 600, 1, []step{{0, 1}, {1, 2}}, []step{{0, 1}, {1, 1}, {6, 1}}},
		{"large in two steps, and one more", 600, 1, []step{{0, 1}, {1, 1}, {2, 1}}, []step{{0, 1}, {2, 1}, {7, 1}}},
		{"after all Saves have ended", 1, 1, []step{{0, 1}, {1, 1}, {2000, 1}, {2001, 1}}, []step{{0, 1}, {6, 1}, {2000, 1}, {2006, 1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				now := func() int { return int(time.Since(start).Milliseconds()) }
				var saves []step
				s := &script{}
				s.save = func(ctx context.Context, batch []*envelope.Envelope) []error {
					s.mu.Lock()
					saves = append(saves, step{now(), len(batch)})
					s.mu.Unlock()
					return slow(ctx, batch)
				}
				c := commit.New(s, commit.Options{Writers: 4, MinBatch: 4, MaxBytes: 1000})
				o := newOutcomes(t)
				n := 0
				for _, to := range tt.submit {
					time.Sleep(time.Duration(to.at-now()) * time.Millisecond)
					for range to.messages {
						o.submit(c, message(fmt.Sprint(n), tt.size, tt.rows))
						n++
					}
					synctest.Wait()
				}
				time.Sleep(time.Minute)
				drain(t, c)
				o.want(n, nil)
				if !slices.Equal(saves, tt.saves) {
					t.Errorf("Saves (at, messages) %v, want %v", saves, tt.saves)
				}
			})
		})
	}
}

// TestMinBatchAfterSwap: a Save of the replaced store does not delay messages.
func TestMinBatchAfterSwap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := commit.Options{Writers: 2, MinBatch: 4, Log: slog.New(slog.DiscardHandler)}
		c := commit.New(&script{save: hung}, options)
		o := newOutcomes(t)
		o.submit(c, message("hangs", 1, 1))
		synctest.Wait()
		c.Swap(&script{save: stored}, options)
		o.submit(c, message("goes on", 1, 1))
		synctest.Wait()
		o.want(1, nil)
		time.Sleep(time.Minute)
		drain(t, c)
	})
}
