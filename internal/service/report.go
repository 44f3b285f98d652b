package service

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// reportInterval is how often the manager is told how things are, if that has
// changed.
const reportInterval = 2 * time.Second

// moreTime is what the manager is asked for, again and again, while the
// service stops: it may take as long as it makes progress.
const moreTime = 10 * time.Second

// report notifies the manager of each status that differs from told, the last one,
// and feeds the watchdog, until end is called. One goroutine does it, since Run may
// be in a reload or a stop; without a manager there is none.
func (s *Service) report(told string) (end func()) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return func() {}
	}
	// An error means that its variables are none of ours to understand.
	watchdog, _ := daemon.SdWatchdogEnabled(false)
	interval := reportInterval
	if watchdog > 0 {
		interval = min(interval, watchdog/4)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var reporter sync.WaitGroup
	reporter.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		dead := false
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if now := s.status(); now != told {
				told = now
				s.notify(now)
			}
			if s.ending.Load() {
				s.notify(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", moreTime.Microseconds()))
			}
			if watchdog > 0 {
				dead = s.feed(ctx, watchdog/4, dead)
			}
		}
	})
	return func() {
		cancel()
		reporter.Wait()
	}
}

// feed tells the watchdog that everything goes on, or else nothing. It reports
// whether it does not.
func (s *Service) feed(ctx context.Context, patience time.Duration, wasDead bool) (dead bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := s.Alive(ctx)
	if err == nil {
		s.notify(daemon.SdNotifyWatchdog)
		return false
	}
	if !wasDead {
		s.Log.Error("no progress: unless it goes on, the watchdog ends the daemon", "error", err)
	}
	return true
}

// status is the line that systemctl status shows.
func (s *Service) status() string {
	text := s.Status()
	if s.ending.Load() {
		text = "stopping: " + text
	}
	if refusal := s.refusal.Load(); refusal != nil && *refusal != "" {
		text += "; the last reload was refused: " + *refusal
	}
	return oneLine("STATUS=" + text)
}
