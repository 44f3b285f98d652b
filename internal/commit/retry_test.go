package commit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/test"
)

// unavailable returns a store that fails until a time after its first Save.
func unavailable(until time.Duration) *checked {
	s := &checked{}
	begin := time.Now()
	s.save = func(_ context.Context, batch []*envelope.Envelope) []error {
		if time.Since(begin) < until {
			return savemail.Outcome(len(batch), errors.New("connection refused"))
		}
		return savemail.Outcome(len(batch), nil)
	}
	return s
}

// TestShortOutage: messages of an outage shorter than 10 s are stored, each once. Those of
// a longer one fail after 10 s, and later ones fail at once.
func TestShortOutage(t *testing.T) {
	for _, tt := range []struct {
		lasts, timeout time.Duration
		stored         int
		first          time.Duration // outcome of the first message, at the earliest
	}{
		{0, time.Minute, 30, 0},
		{9900 * time.Millisecond, time.Minute, 30, 9900 * time.Millisecond},
		{10 * time.Second, time.Minute, 30, 10 * time.Second},
		{time.Minute, time.Minute, 0, 10 * time.Second},
		{2 * time.Second, 4 * time.Second, 10, 2 * time.Second}, // half of the timeout is for a Save
		{time.Minute, 4 * time.Second, 0, 2 * time.Second},
	} {
		t.Run(fmt.Sprint(tt.lasts, " of ", tt.timeout), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := unavailable(tt.lasts)
				c := commit.New(s, quiet(commit.Options{Timeout: tt.timeout, MaxRows: 7}))
				o, begin := newOutcomes(t), time.Now()
				var all []*envelope.Envelope
				for i := range 30 {
					e := message(fmt.Sprint(i), 1, 1)
					all = append(all, e)
					o.submit(c, e)
					time.Sleep(tt.timeout / 200)
				}
				synctest.Wait()
				if n := c.Counters().Queued; tt.lasts > 10*time.Second && tt.timeout == time.Minute && n != 30 {
					t.Errorf("%d messages wait, want 30", n)
				}
				time.Sleep(20 * time.Second)
				synctest.Wait()
				count := 0
				for _, e := range all {
					if at, ok := o.at[e]; !ok || at.Sub(begin) < tt.first {
						t.Fatalf("%s: outcome %v after %v", e.From, o.errs[e], at.Sub(begin))
					} else if o.errs[e] == nil {
						count++
					} else if !errors.Is(o.errs[e], savemail.ErrUnavailable) && o.errs[e].Error() != "connection refused" {
						t.Error(o.errs[e])
					}
				}
				if count < tt.stored || tt.stored == 0 && count > 0 {
					t.Errorf("%d messages are stored, want %d", count, tt.stored)
				}
				if got := c.Counters(); int(got.Messages) != count || int(got.Unavailable) != 30-count || got.Queued != 0 {
					t.Errorf("counters %+v", got)
				}
				if tt.lasts == time.Minute {
					last := message("last", 1, 1)
					o.submit(c, last)
					synctest.Wait()
					if o.errs[last] == nil || !c.Health().Refusing {
						t.Errorf("after 20 s: outcome %v, health %+v", o.errs[last], c.Health())
					}
				}
				drain(t, c)
			})
		})
	}
}

// TestBadMessage: a message that makes its Saves fail delays no other message for long,
// although there is one writer, and fails itself after 10 s. The messages of its batch are
// stored.
func TestBadMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{save: func(_ context.Context, batch []*envelope.Envelope) []error {
			time.Sleep(time.Millisecond)
			for _, e := range batch {
				if e.From == "bad" {
					return savemail.Outcome(len(batch), errors.New("disk full"))
				}
			}
			return savemail.Outcome(len(batch), nil)
		}}
		var log test.Log
		c := commit.New(s, commit.Options{Log: log.Logger()})
		o, began := newOutcomes(t), map[*envelope.Envelope]time.Time{}
		bad := message("bad", 1, 1)
		submit := func(e *envelope.Envelope) {
			began[e] = time.Now()
			o.submit(c, e)
		}
		submit(message("first", 1, 1)) // the next messages are one batch
		synctest.Wait()
		for range 20 {
			submit(message("mate", 1, 1))
		}
		submit(bad)
		for range 20 {
			submit(message("mate", 1, 1))
		}
		for range 200 {
			time.Sleep(100 * time.Millisecond)
			submit(message("good", 1, 1))
		}
		drain(t, c)
		o.want(241, nil)
		if took := o.at[bad].Sub(began[bad]); o.errs[bad] == nil || took < 9*time.Second || took > 11*time.Second {
			t.Errorf("the bad message: %v after %v, want an error after 10 s", o.errs[bad], took)
		}
		for e, at := range o.at {
			if took := at.Sub(began[e]); e.From == "good" && took > 10*time.Millisecond || e.From == "mate" && took > 8*time.Second {
				t.Errorf("%s has waited for %v", e.From, took)
			}
		}
		if n := len(s.batches); n > 280 {
			t.Errorf("%d Saves", n)
		}
		if n := log.Count("store unavailable"); n != 1 {
			t.Errorf("the log has %d outages, want 1:\n%s", n, log.String())
		}
	})
}

// TestWaitingMessages: messages that wait have a last Save at the drain, and are saved by a
// store that replaces the unavailable one.
func TestWaitingMessages(t *testing.T) {
	for name, end := range map[string]func(*commit.Committer) error{
		"drain": func(*commit.Committer) error { return savemail.ErrUnavailable },
		"swap": func(c *commit.Committer) error {
			c.Swap(&checked{script: script{save: stored}}, quiet(commit.Options{}))
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var saves atomic.Int32
				s := &script{save: func(_ context.Context, batch []*envelope.Envelope) []error {
					saves.Add(1)
					return savemail.Outcome(len(batch), savemail.ErrUnavailable)
				}}
				c := commit.New(s, quiet(commit.Options{}))
				o := newOutcomes(t)
				o.submit(c, message("a", 1, 1))
				synctest.Wait()
				if len(o.errs) > 0 || saves.Load() != 1 {
					t.Fatalf("outcomes %v after %d Saves", o.errs, saves.Load())
				}
				begin := time.Now()
				want := end(c)
				drain(t, c)
				o.want(1, want)
				if took := time.Since(begin); took > 0 {
					t.Errorf("the message has waited for %v", took)
				}
			})
		})
	}
}

// TestOutageLog: the log has no error for a short outage.
func TestOutageLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log test.Log
		s := unavailable(9 * time.Second)
		c := commit.New(s, commit.Options{Log: log.Logger()})
		o := newOutcomes(t)
		o.submit(c, message("a", 1, 1))
		time.Sleep(20 * time.Second)
		drain(t, c)
		o.want(1, nil)
		if text := log.String(); !strings.Contains(text, "store unavailable, messages wait") || strings.Contains(text, "451") || !strings.Contains(text, "store available again") {
			t.Errorf("log:\n%s", text)
		}
	})
}
