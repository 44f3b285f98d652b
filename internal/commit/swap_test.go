package commit_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/savemail"
)

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
			t.Errorf("after an hour, the first store is closed: %v, want true; the second: %v, want false", closed(&first.script), closed(&second.script))
		}
		drain(t, c)
		if took := time.Since(begun); took > 61*time.Minute || !closed(&second.script) {
			t.Errorf("the drain ends after %v, want at most 61m; the second store is closed: %v, want true", took, closed(&second.script))
		}
	})
}

// TestSwap: queued messages go to the new store, and the old store is closed after
// its last Save. After the drain a new store is closed immediately.
func TestSwap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, after := &script{save: slow}, &script{save: stored}
		c := commit.New(before, commit.Options{Writers: 2, MaxRows: 1})
		o := newOutcomes(t)
		for i := range 10 {
			o.submit(c, message(fmt.Sprint(i), 1, 1))
		}
		synctest.Wait()
		c.Swap(after, quiet(commit.Options{}))
		synctest.Wait()
		if before.closed || len(before.batches) != 2 {
			t.Errorf("the old store: closed %v, want false; %d batches, want 2", before.closed, len(before.batches))
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
			t.Errorf("the new store: closed %v, want true; the old store: %d batches, want 2", after.closed, len(before.batches))
		}
		late := &script{save: stored}
		c.Swap(late, quiet(commit.Options{}))
		if !late.closed {
			t.Error("a store that is swapped in after the drain is not closed")
		}
		o.submit(c, message("late", 1, 1))
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
			o.submit(c, message(from, 1, 1))
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

// TestDrainTimeout: when the context of Drain ends, the running Save is canceled and
// the queued messages fail.
func TestDrainTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{save: hung}
		c := commit.New(s, quiet(commit.Options{MaxRows: 1}))
		o := newOutcomes(t)
		for i := range 5 {
			o.submit(c, message(fmt.Sprint(i), 1, 1))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := c.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain returns %v, want DeadlineExceeded", err)
		}
		synctest.Wait()
		if len(o.errs) != 5 || !s.closed || len(s.batches) != 1 {
			t.Errorf("%d outcomes, want 5; closed %v, want true; %d batches, want 1", len(o.errs), s.closed, len(s.batches))
		}
		drain(t, c)
	})
}
