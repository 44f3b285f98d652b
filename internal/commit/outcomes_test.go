package commit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
)

// randomStore is a store with random outcomes after up to 3 s. It records the last
// outcome of each envelope.
type randomStore struct {
	t    *testing.T
	mu   sync.Mutex
	rand *rand.Rand
	last map[*envelope.Envelope]error
}

func (f *randomStore) save(_ context.Context, batch []*envelope.Envelope) []error {
	f.mu.Lock()
	wait := time.Duration(f.rand.IntN(3000)) * time.Millisecond
	kinds := []error{nil, nil, savemail.ErrUnavailable, savemail.ErrUnknown, savemail.ErrRejected, savemail.ErrRejected}
	errs := savemail.Outcome(len(batch), kinds[f.rand.IntN(len(kinds))])
	for i, e := range batch {
		if before, again := f.last[e]; again && before != savemail.ErrRejected && before != savemail.ErrUnavailable {
			f.t.Errorf("%s is saved again after %v", e.From, before)
		}
		if f.rand.IntN(10) == 0 {
			errs[i] = savemail.ErrRejected
		}
		f.last[e] = errs[i]
	}
	f.mu.Unlock()
	time.Sleep(wait)
	return errs
}

// TestOutcomes: every envelope has exactly one outcome, the last one that the store
// returned for it, and is not saved again unless it was rejected or the store was
// unavailable.
func TestOutcomes(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) { testOutcomes(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func testOutcomes(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	f := &randomStore{t: t, rand: rand.New(rand.NewPCG(seed, 1)), last: map[*envelope.Envelope]error{}}
	options := commit.Options{
		Writers: 1 + random.IntN(3), MaxRows: 1 + random.IntN(20), MaxBytes: int64(random.IntN(5000)),
		Timeout: 5 * time.Second, Log: slog.New(slog.DiscardHandler),
	}
	c := commit.New(&script{save: f.save}, options)
	o := newOutcomes(t)
	const n = 100
	for i := range n {
		o.submit(c, message(fmt.Sprint(i), random.IntN(1000), 1+random.IntN(3)))
		if random.IntN(4) == 0 {
			time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
		}
		if random.IntN(30) == 0 {
			c.Swap(&script{save: f.save}, options)
		}
	}
	drain(t, c)
	if len(o.errs) != n {
		t.Fatalf("%d outcomes, want %d", len(o.errs), n)
	}
	for e, got := range o.errs {
		switch want, tried := f.last[e]; {
		case got == want && tried:
		case errors.Is(got, savemail.ErrUnavailable) && (!tried || want == savemail.ErrRejected || want == savemail.ErrUnavailable):
		default:
			t.Errorf("%s: outcome %v, the store returned %v (was called: %v)", e.From, got, want, tried)
		}
	}
	counters := c.Counters()
	if sum := counters.Messages + counters.Unavailable + counters.Rejected + counters.Unknown; sum != n {
		t.Errorf("the counters of outcomes have the sum %d, want %d: %+v", sum, n, counters)
	}
}
