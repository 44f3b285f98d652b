package smtpd

import (
	"slices"
	"testing"
	"time"
)

func TestDeadlines(t *testing.T) {
	var d deadlines
	d.init()
	const timeout = 10 * time.Second
	timers := make([]timer, 5)
	due := func(now, timeout time.Duration) (ended []int) {
		for x := d.due(now, timeout); x != nil; x = d.due(now, timeout) {
			for i := range timers {
				if x == &timers[i] {
					ended = append(ended, i)
				}
			}
			x.stop()
		}
		return ended
	}
	if got := d.wait(0, timeout, time.Minute); got != time.Minute {
		t.Errorf("wait of an empty list = %v, want %v", got, time.Minute)
	}
	for i := range timers {
		d.renew(&timers[i], time.Duration(i)*time.Second)
	}
	d.renew(&timers[1], 5*time.Second) // now the newest
	timers[2].stop()
	timers[2].stop() // in no list: nothing happens
	if got := d.wait(6*time.Second, timeout, time.Minute); got != 4*time.Second {
		t.Errorf("wait at 6s = %v, want 4s", got)
	}
	if got := d.wait(30*time.Second, timeout, time.Minute); got != 0 {
		t.Errorf("wait at 30s = %v, want 0", got)
	}
	for _, step := range []struct {
		now, timeout time.Duration
		want         []int
	}{
		{10*time.Second - 1, timeout, nil},
		{10 * time.Second, timeout, []int{0}},
		{13 * time.Second, timeout, []int{3}},
		{13 * time.Second, 8 * time.Second, []int{4, 1}}, // shortened by a reload
		{99 * time.Second, timeout, nil},
	} {
		if got := due(step.now, step.timeout); !slices.Equal(got, step.want) {
			t.Errorf("at %v with timeout %v, timers %v are due, want %v", step.now, step.timeout, got, step.want)
		}
	}
}
