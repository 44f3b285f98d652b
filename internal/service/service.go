// Package service is the daemon's life as its manager sees it: ready, reload,
// stop, and the signals that ask for them. It knows neither SMTP nor SQL; what
// is to be done comes in as functions.
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

// A Service is what runs between ready and stopped.
type Service struct {
	// Signals is what Catch has returned.
	Signals chan os.Signal
	// Reload reads, checks and swaps the configuration; an error means that
	// nothing has changed.
	Reload func() error
	// Report logs the counters.
	Report func()
	// Stop ends the service in an orderly way: nothing acknowledged may be
	// lost, even when ctx ends it early.
	Stop func(ctx context.Context)
	// Status says in one line how things are, for whoever asks the manager. It
	// is no place for secrets: everybody can read it.
	Status func() string
	// Alive returns nil when everything that must go on does. What others keep
	// from working, a database for one, is alive.
	Alive func(ctx context.Context) error
	Log   *slog.Logger

	refusal atomic.Pointer[string] // of the last reload, "" if it was taken
	ending  atomic.Bool            // between the signal and the end
}

// drainTime is the most that transactions in flight get at a stop. systemd's
// TimeoutStopSec must be longer.
const drainTime = 20 * time.Second

// Hold keeps SIGHUP and SIGUSR1, which would end the process, until Run obeys
// them. It is called before anything that takes time; SIGTERM and SIGINT end a
// start at once.
func Hold() chan os.Signal {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1)
	return signals
}

// Catch has Run obey all signals that come from now on.
func Catch(signals chan os.Signal) {
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	signal.Ignore(syscall.SIGPIPE) // a log or a client that is gone must not end the daemon
}

// Run tells the manager that the service is ready, obeys signals until one of
// them ends it, and returns after the stop.
//
// SIGHUP reloads, SIGUSR1 reports, SIGTERM and SIGINT stop; a second one of
// these cuts the stop short.
func (s *Service) Run() {
	defer signal.Stop(s.Signals)
	status := s.status()
	s.notify(daemon.SdNotifyReady + "\n" + status)
	defer s.report(status)()
	for sig := range s.Signals {
		switch sig {
		case syscall.SIGHUP:
			s.reload()
		case syscall.SIGUSR1:
			s.Report()
		default:
			s.Log.Info("stopping", "signal", sig.String())
			s.stop()
			return
		}
	}
}

func (s *Service) reload() {
	s.notify(reloading())
	refusal := ""
	if err := s.Reload(); err != nil {
		s.Log.Error("reload refused, the old configuration goes on", "error", err)
		refusal = err.Error()
	} else {
		s.Log.Info("reloaded")
	}
	s.refusal.Store(&refusal)
	s.notify(daemon.SdNotifyReady + "\n" + s.status())
}

func (s *Service) stop() {
	s.ending.Store(true)
	s.notify(daemon.SdNotifyStopping + "\n" + s.status())
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
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

// reloading is the notification that a reload begins; the time lets the
// manager tell its end from the end of an earlier one (sd_notify(3)).
func reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return daemon.SdNotifyReloading
	}
	return fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000)
}

// notify tells the manager, if there is one; what it does not hear is no
// reason to stop serving.
func (s *Service) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.Log.Warn("cannot notify the service manager", "error", err)
	}
}

// Refused tells the manager why the service does not start, so that its status
// shows it after the exit.
func Refused(what string, reason error) {
	// There is nobody else to tell: the error itself goes to stderr.
	_, _ = daemon.SdNotify(false, oneLine("STATUS="+what+": "+reason.Error()))
}

// oneLine keeps a text from being taken for several assignments.
func oneLine(text string) string { return strings.ReplaceAll(text, "\n", "; ") }
