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
		var freed chan struct{}
		s := &script{save: func(ctx context.Context, batch []*envelope.Envelope) []error {
			switch batch[0].From {
			case "hangs":
				<-freed
			case "later":
				return slow(ctx, batch)
			}
			return stored(ctx, batch)
		}}
		c := commit.New(s, commit.Options{Writers: 2, ExtraWriters: 2, MaxRows: 1})
		o := newOutcomes(t)
		for round := range 2 { // what has come back can be relieved again
			freed = make(chan struct{})
			begun := time.Now()
			for range 3 {
				o.submit(c, mail("hangs", 1, 1))
			}
			behind := mail("behind", 1, 1)
			o.submit(c, behind)
			time.Sleep(10 * time.Second)
			o.want(7*round+1, nil)
			if took := o.at[behind].Sub(begun); took != 2*time.Second {
				t.Errorf("the next queued envelope waits %v, want 2s", took)
			}
			for range 3 {
				o.submit(c, mail("hangs", 1, 1))
			}
			time.Sleep(10 * time.Second)
			if most := s.mostSince(); most != 4 {
				t.Errorf("%d concurrent Saves, want 4", most)
			}
			close(freed)
			synctest.Wait()
			o.want(7*round+7, nil)
		}
		s.mostSince()
		for range 9 {
			o.submit(c, mail("later", 1, 1))
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
		freed := make(chan struct{})
		s := &script{save: func(ctx context.Context, batch []*envelope.Envelope) []error {
			if batch[0].From == "hangs" {
				<-freed
			}
			return stored(ctx, batch)
		}}
		c := commit.New(s, commit.Options{ExtraWriters: 1, MaxRows: 1})
		o := newOutcomes(t)
		for _, from := range []string{"hangs", "a", "b"} {
			o.submit(c, mail(from, 1, 1))
		}
		ended := make(chan error)
		go func() { ended <- c.Drain(t.Context()) }()
		time.Sleep(2*time.Second - time.Nanosecond)
		o.want(0, nil)
		time.Sleep(2 * time.Nanosecond)
		o.want(2, nil)
		close(freed)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		o.want(3, nil)
	})
}
