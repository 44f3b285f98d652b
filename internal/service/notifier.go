package service

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// statusInterval is the interval of status notifications, in addition to Service.Changed.
// An unchanged status is not sent again.
const statusInterval = 2 * time.Second

// stopExtension is the time that each EXTEND_TIMEOUT_USEC requests during a stop
// (sd_notify(3)).
const stopExtension = 10 * time.Second

// startNotifier starts a goroutine that notifies the manager of each status that
// differs from sent, the last one, and of progress for the watchdog. end stops it. Run
// cannot do this, since a reload or a stop can block it. Without a manager there is no
// goroutine.
func (s *Service) startNotifier(sent string) (end func()) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return func() {}
	}
	// An error means that the variables of the watchdog are invalid: 0 turns it off.
	watchdog, _ := daemon.SdWatchdogEnabled(false)
	interval := statusInterval
	if watchdog > 0 {
		interval = min(interval, watchdog/4)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var notifier sync.WaitGroup
	notifier.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		alive := true
		for {
			ticked := false
			select {
			case <-ctx.Done():
				return
			case <-s.Changed:
			case <-tick.C:
				ticked = true
			}
			if status := s.status(); status != sent {
				sent = status
				s.notify(status)
			}
			if !ticked {
				continue
			}
			if s.stopping.Load() {
				s.notify(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", stopExtension.Microseconds()))
			}
			if watchdog > 0 {
				alive = s.notifyWatchdog(ctx, watchdog/4, alive)
			}
		}
	})
	return func() {
		cancel()
		notifier.Wait()
	}
}

// notifyWatchdog notifies the watchdog if the service makes progress, and reports
// whether it does. It logs the first error after wasAlive.
func (s *Service) notifyWatchdog(ctx context.Context, timeout time.Duration, wasAlive bool) (alive bool) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := s.Alive(ctx)
	if err == nil {
		s.notify(daemon.SdNotifyWatchdog)
		return true
	}
	if wasAlive {
		s.Log.Error("no progress, not notifying the watchdog", "error", err)
	}
	return false
}

// status returns the assignment with the line that systemctl status shows.
func (s *Service) status() string {
	text := s.Status()
	if s.stopping.Load() {
		text = "stopping: " + text
	}
	if err := s.reloadError.Load(); err != nil && *err != "" {
		text += "; the last reload was refused: " + *err
	}
	return oneLine("STATUS=" + text)
}
