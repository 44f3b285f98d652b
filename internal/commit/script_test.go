package commit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
)

// A script is a store whose Save is a function. It records the batches.
type script struct {
	save func(ctx context.Context, batch []*envelope.Envelope) []error

	mu      sync.Mutex
	batches [][]*envelope.Envelope
	running int
	most    int // maximum number of concurrent Saves
	closed  bool
}

func (s *script) Save(ctx context.Context, batch []*envelope.Envelope) []error {
	s.mu.Lock()
	if s.closed {
		panic("Save after Close")
	}
	s.batches = append(s.batches, batch)
	s.running++
	s.most = max(s.most, s.running)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running--
	}()
	return s.save(ctx, batch)
}

func (s *script) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.running > 0 {
		panic(fmt.Sprintf("Close: closed %v, %d running", s.closed, s.running))
	}
	s.closed = true
	return nil
}

func (s *script) sizes() (sizes []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.batches {
		sizes = append(sizes, len(b))
	}
	return sizes
}

// mostSince returns the maximum number of concurrent Saves since the last call.
func (s *script) mostSince() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := s.most
	s.most = 0
	return most
}

func stored(_ context.Context, batch []*envelope.Envelope) []error {
	return savemail.Outcome(len(batch), nil)
}

// slow takes 1 s for each Save.
func slow(ctx context.Context, batch []*envelope.Envelope) []error {
	time.Sleep(time.Second)
	return stored(ctx, batch)
}

// hung returns when its context ends.
func hung(ctx context.Context, batch []*envelope.Envelope) []error {
	<-ctx.Done()
	return savemail.Outcome(len(batch), fmt.Errorf("%w: %w", savemail.ErrUnknown, ctx.Err()))
}

// message returns an envelope with the given sender, bytes and recipients.
func message(name string, size, rows int) *envelope.Envelope {
	e := &envelope.Envelope{From: name}
	for i := range rows {
		e.To = append(e.To, envelope.Recipient{Address: name, Hash: fmt.Sprintf("%s-%d", name, i)})
	}
	e.SetMessage(make([]byte, size), 0)
	return e
}

// outcomes records the outcomes and their times.
type outcomes struct {
	t    *testing.T
	mu   sync.Mutex
	errs map[*envelope.Envelope]error
	at   map[*envelope.Envelope]time.Time
}

func newOutcomes(t *testing.T) *outcomes {
	return &outcomes{t: t, errs: map[*envelope.Envelope]error{}, at: map[*envelope.Envelope]time.Time{}}
}

func (o *outcomes) submit(c *commit.Committer, e *envelope.Envelope) {
	c.Submit(e, func(err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if before, twice := o.errs[e]; twice {
			o.t.Errorf("%s: outcomes %v and %v", e.From, before, err)
		}
		o.errs[e], o.at[e] = err, time.Now()
	})
}

// checkCounters reports the counters that differ.
func checkCounters(t *testing.T, got, want commit.Counters) {
	t.Helper()
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range g.NumField() {
		if got, want := g.Field(i).Interface(), w.Field(i).Interface(); got != want {
			t.Errorf("%s is %d, want %d", g.Type().Field(i).Name, got, want)
		}
	}
}

// want checks that exactly n envelopes have the outcome.
func (o *outcomes) want(n int, kind error) {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	got := 0
	for _, err := range o.errs {
		if errors.Is(err, kind) {
			got++
		}
	}
	if got != n {
		o.t.Errorf("%d envelopes have the outcome %v, want %d; all: %v", got, kind, n, o.errs)
	}
}

func drain(t *testing.T, c *commit.Committer) {
	t.Helper()
	if err := c.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

// quiet discards log output.
func quiet(o commit.Options) commit.Options {
	o.Log = slog.New(slog.DiscardHandler)
	return o
}
