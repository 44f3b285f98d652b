// Package service handles the signals of the daemon, and notifies the service
// manager (sd_notify(3)): ready, reload, stop, status, watchdog. The caller supplies
// the functions that do the work.
package service

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// A Service is the daemon between its start and its end.
type Service struct {
	// Signals is the queue of QueueSignals.
	Signals chan os.Signal
	// Reload loads and applies the configuration. After an error nothing has changed.
	Reload func() error
	// LogCounters logs the counters.
	LogCounters func()
	// Stop closes everything, and continues without waiting when ctx is done. No
	// acknowledged message may be lost.
	Stop func(ctx context.Context)
	// Status returns the status of the daemon in one line. All users of the machine
	// can read it.
	Status func() string
	// Changed receives a value when the status should be sent at once. It may be nil.
	Changed <-chan struct{}
	// Alive returns an error if a part of the daemon makes no progress, and nil if the
	// daemon only waits for another program, such as a database.
	Alive func(ctx context.Context) error
	Log   *slog.Logger

	reloadError atomic.Pointer[string] // of the last reload, "" after success
	stopping    atomic.Bool
}

// stopTimeout bounds the transactions in flight at a stop. TimeoutStopSec= of the
// systemd unit must be longer.
const stopTimeout = 20 * time.Second

// QueueSignals queues SIGHUP and SIGUSR1 for Run, since they would end the process.
// Call it before anything that takes time. SIGTERM and SIGINT still end the process.
func QueueSignals() chan os.Signal {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1)
	return signals
}

// QueueStopSignals queues SIGTERM and SIGINT for Run too, and ignores SIGPIPE.
func QueueStopSignals(signals chan os.Signal) {
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	signal.Ignore(syscall.SIGPIPE) // a closed log or client must not end the daemon
}

// Run notifies the manager that the service is ready, handles signals, and returns
// after a stop.
//
// SIGHUP reloads, SIGUSR1 logs the counters, SIGTERM and SIGINT stop. A second
// SIGTERM or SIGINT cancels the context of Stop.
func (s *Service) Run() {
	defer signal.Stop(s.Signals)
	status := s.status()
	s.notify(daemon.SdNotifyReady + "\n" + status)
	defer s.startNotifier(status)()
	for sig := range s.Signals {
		switch sig {
		case syscall.SIGHUP:
			s.reload()
		case syscall.SIGUSR1:
			s.LogCounters()
		default:
			s.Log.Info("stopping", "signal", sig.String())
			s.stop()
			return
		}
	}
}

func (s *Service) reload() {
	s.notify(reloading())
	reason := ""
	if err := s.Reload(); err != nil {
		s.Log.Error("reload refused, keeping the old configuration", "error", err)
		reason = err.Error()
	} else {
		s.Log.Info("reloaded")
	}
	s.reloadError.Store(&reason)
	s.notify(daemon.SdNotifyReady + "\n" + s.status())
}

func (s *Service) stop() {
	s.stopping.Store(true)
	s.notify(daemon.SdNotifyStopping + "\n" + s.status())
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case sig := <-s.Signals:
				if sig == syscall.SIGTERM || sig == syscall.SIGINT {
					cancel()
				}
			}
		}
	}()
	s.Stop(ctx)
}

// reloading returns the notification that a reload begins. The manager needs the time
// to recognise the READY=1 that ends this reload (sd_notify(3)).
func reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return daemon.SdNotifyReloading
	}
	return fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000)
}

// notify sends a notification to the manager, if there is one. The service continues
// after an error.
func (s *Service) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.Log.Warn("cannot notify the service manager", "error", err)
	}
}

// NotifyFailure notifies the manager why the service does not start: systemctl status
// shows it after the exit.
func NotifyFailure(what string, reason error) {
	// The caller writes reason to stderr, so an error of SdNotify hides nothing.
	_, _ = daemon.SdNotify(false, oneLine("STATUS="+what+": "+reason.Error()))
}

// oneLine replaces newlines, which separate assignments (sd_notify(3)).
func oneLine(text string) string { return strings.ReplaceAll(text, "\n", "; ") }
