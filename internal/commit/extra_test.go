package commit_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/envelope"
)

// TestExtraWriter: a writer starts for each Save that takes too long, up to
// ExtraWriters. A Save that ends late leaves no additional writer.
func TestExtraWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var end chan struct{}
		s := &script{save: func(ctx context.Context, batch []*envelope.Envelope) []error {
			switch batch[0].From {
			case "hangs":
				<-end
			case "slow":
				return slow(ctx, batch)
			}
			return stored(ctx, batch)
		}}
		c := commit.New(s, commit.Options{Writers: 2, ExtraWriters: 2, MaxRows: 1})
		o := newOutcomes(t)
		for round := range 2 { // a writer that has returned can be replaced again
			end = make(chan struct{})
			begun := time.Now()
			for range 3 {
				o.submit(c, message("hangs", 1, 1))
			}
			next := message("next", 1, 1)
			o.submit(c, next)
			time.Sleep(10 * time.Second)
			o.want(7*round+1, nil)
			if took := o.at[next].Sub(begun); took != 2*time.Second {
				t.Errorf("the next queued message waits %v, want 2s", took)
			}
			for range 3 {
				o.submit(c, message("hangs", 1, 1))
			}
			time.Sleep(10 * time.Second)
			if most := s.mostSince(); most != 4 {
				t.Errorf("%d concurrent Saves, want 4", most)
			}
			close(end)
			synctest.Wait()
			o.want(7*round+7, nil)
		}
		s.mostSince()
		for range 9 {
			o.submit(c, message("slow", 1, 1))
		}
		drain(t, c)
		if most := s.mostSince(); most != 2 {
			t.Errorf("%d concurrent Saves when no Save hangs, want 2", most)
		}
	})
}

// TestExtraWriterAtDrain: a Save that hangs during the drain does not delay queued
// messages.
func TestExtraWriterAtDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		s := &script{save: func(ctx context.Context, batch []*envelope.Envelope) []error {
			if batch[0].From == "hangs" {
				<-end
			}
			return stored(ctx, batch)
		}}
		c := commit.New(s, commit.Options{ExtraWriters: 1, MaxRows: 1})
		o := newOutcomes(t)
		for _, from := range []string{"hangs", "a", "b"} {
			o.submit(c, message(from, 1, 1))
		}
		drained := make(chan error)
		go func() { drained <- c.Drain(t.Context()) }()
		time.Sleep(2*time.Second - time.Nanosecond)
		o.want(0, nil)
		time.Sleep(2 * time.Nanosecond)
		o.want(2, nil)
		close(end)
		if err := <-drained; err != nil {
			t.Error(err)
		}
		o.want(3, nil)
	})
}
