package commit_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/smtp"
)

// A disk is a script with a file system.
type disk struct {
	script
	free   atomic.Int64 // bytes
	broken atomic.Bool
}

func (d *disk) Free() (int64, error) {
	if d.broken.Load() {
		return 0, errors.New("input/output error")
	}
	return d.free.Load(), nil
}

// TestMinFree: with too little space nothing is saved and the client receives 452. The
// store is healthy again without a message when there is enough space.
func TestMinFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var changes atomic.Int32
		store := &disk{script: script{save: stored}}
		store.free.Store(1000)
		o := newOutcomes(t)
		c := commit.New(store, commit.Options{MinFree: 800, Log: slog.New(slog.NewTextHandler(&log, nil)), Changed: func() { changes.Add(1) }})
		synctest.Wait()
		want := func(full bool, stored, refused int) {
			t.Helper()
			h := c.Health()
			if c.Full() != full || h.Full != full || h.Up == full || h.Refusing != full || c.Space().Full != full {
				t.Errorf("Full is %v, Health %+v, Space %+v, want full %v", c.Full(), h, c.Space(), full)
			}
			o.want(stored, nil)
			o.want(refused, smtp.ReplyNoSpace)
			o.want(refused, savemail.ErrUnavailable)
		}
		submit := func() {
			o.submit(c, message("m", 1, 1))
			synctest.Wait()
		}
		submit()
		want(false, 1, 0)
		store.free.Store(799)
		submit() // before the next check of each second
		want(true, 1, 1)
		store.free.Store(899)
		submit() // not yet an eighth more
		want(true, 1, 2)
		if text := c.Health().Outage(); !strings.HasSuffix(text, ": 899 bytes free, not yet an eighth more than GM_MIN_FREE, which is 800") {
			t.Errorf("the outage is %q", text)
		}
		store.broken.Store(true)
		submit() // unknown
		want(true, 2, 2)
		store.broken.Store(false)
		store.free.Store(900)
		time.Sleep(1001 * time.Millisecond)
		want(false, 2, 2)
		submit()
		want(false, 3, 2)
		store.free.Store(0)
		time.Sleep(1001 * time.Millisecond)
		want(true, 3, 2)
		if text := c.Health().Outage(); !strings.HasSuffix(text, " UTC, replying 452: 0 bytes free, less than GM_MIN_FREE, which is 800") {
			t.Errorf("the outage is %q", text)
		}
		if got := c.Counters().Full; got != 2 {
			t.Errorf("%d messages are counted, want 2", got)
		}
		if got := c.Space(); got != (commit.Space{Known: true, Free: 0, Min: 800, Full: true}) {
			t.Errorf("Space is %+v", got)
		}
		c.Swap(&script{save: stored}, quiet(commit.Options{MinFree: 800})) // not on this machine
		submit()
		want(false, 4, 2)
		drain(t, c)
		if got := strings.Count(log.String(), "too little disk space, replying 452"); got != 2 {
			t.Errorf("%d errors are logged, want 2: %s", got, log.String())
		}
		if changes.Load() < 3 {
			t.Errorf("Changed was called %d times, want 3 or more", changes.Load())
		}
	})
}
