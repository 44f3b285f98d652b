package service_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/service"
	"goguerrillad/internal/test"
)

const patience = 20 * time.Second

// A manager receives the notifications of the service.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

// manage makes the test the service manager, which feeds a watchdog if that is not 0.
func manage(t *testing.T, watchdog time.Duration) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	if watchdog > 0 {
		t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
	}
	return &manager{t, conn}
}

// next returns the next notification, whose times are replaced by N.
func (m *manager) next() string {
	m.t.Helper()
	b := make([]byte, 4096)
	n, err := m.conn.Read(b)
	if err != nil {
		m.t.Fatal(err)
	}
	return regexp.MustCompile(`MONOTONIC_USEC=[1-9][0-9]+`).ReplaceAllString(string(b[:n]), "MONOTONIC_USEC=N")
}

func (m *manager) want(want ...string) {
	m.t.Helper()
	for _, w := range want {
		if got := m.next(); got != w {
			m.t.Errorf("notification %q, want %q", got, w)
		}
	}
}

// await reads notifications until one is as wanted, and returns those before it.
func (m *manager) await(want string) (before []string) {
	m.t.Helper()
	for got := m.next(); got != want; got = m.next() {
		before = append(before, got)
	}
	return before
}

// A fixture is a service whose functions do what the test sets.
type fixture struct {
	*service.Service
	log      test.Log
	signals  chan os.Signal
	reports  chan struct{}
	stopping chan context.Context
	stop     chan struct{} // lets Stop return
	ended    chan struct{} // Run has returned

	mu     sync.Mutex
	status string
	reload error
	alive  error
}

func newFixture() *fixture {
	f := &fixture{
		signals: make(chan os.Signal, 8), reports: make(chan struct{}, 8),
		stopping: make(chan context.Context, 1), stop: make(chan struct{}, 1), ended: make(chan struct{}), status: "well",
	}
	locked := func(what *error) func() error {
		return func() error {
			f.mu.Lock()
			defer f.mu.Unlock()
			return *what
		}
	}
	f.Service = &service.Service{
		Signals: f.signals, Log: f.log.Logger(),
		Reload: locked(&f.reload),
		Report: func() { f.reports <- struct{}{} },
		Alive:  func(context.Context) error { return locked(&f.alive)() },
		Status: func() string {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.status
		},
		Stop: func(ctx context.Context) {
			f.stopping <- ctx
			select {
			case <-f.stop:
			case <-ctx.Done():
			}
		},
	}
	return f
}

func (f *fixture) run() {
	go func() {
		defer close(f.ended)
		f.Run()
	}()
}

func (f *fixture) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// end waits until Run returns.
func (f *fixture) end(t *testing.T) {
	t.Helper()
	select {
	case <-f.ended:
	case <-time.After(patience):
		t.Fatal("Run does not return")
	}
}

// TestLife: each signal, what the manager is notified of, and what the log has.
func TestLife(t *testing.T) {
	m, f := manage(t, 0), newFixture()
	f.run()
	m.want("READY=1\nSTATUS=well")
	f.signals <- syscall.SIGUSR1
	<-f.reports
	f.signals <- syscall.SIGHUP
	m.want("RELOADING=1\nMONOTONIC_USEC=N", "READY=1\nSTATUS=well")
	f.set(func() { f.reload = errors.New("no\nsuch key") })
	f.signals <- syscall.SIGHUP
	m.want("RELOADING=1\nMONOTONIC_USEC=N", "READY=1\nSTATUS=well; the last reload was refused: no; such key")
	f.set(func() { f.reload, f.status = nil, "very well" })
	f.signals <- syscall.SIGHUP
	if early := m.await("READY=1\nSTATUS=very well"); !slices.Contains(early, "RELOADING=1\nMONOTONIC_USEC=N") {
		t.Errorf("notifications %q", early)
	}
	f.signals <- syscall.SIGTERM
	ctx := <-f.stopping
	m.await("STOPPING=1\nSTATUS=stopping: very well")
	if end, ok := ctx.Deadline(); !ok || time.Until(end) > 20*time.Second || time.Until(end) < 10*time.Second {
		t.Errorf("the stop has time until %v", end)
	}
	f.stop <- struct{}{}
	f.end(t)
	for event, want := range map[string]int{"msg=reloaded": 2, `msg="reload refused`: 1, "msg=stopping signal=terminated": 1, "level=WARN": 0, "level=ERROR": 1} {
		if n := f.log.Count(event); n != want {
			t.Errorf("the log has %s %d times, want %d:\n%s", event, n, want, f.log.String())
		}
	}
}

// TestStop: a second SIGTERM or SIGINT cuts a stop short, and no other signal does.
func TestStop(t *testing.T) {
	m := manage(t, 0)
	for _, first := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for _, second := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
			f := newFixture()
			f.run()
			m.await("READY=1\nSTATUS=well")
			f.signals <- first
			ctx := <-f.stopping
			f.signals <- syscall.SIGHUP
			f.signals <- syscall.SIGUSR1
			test.Await(t, nil, patience, "the signals are read", func() error {
				if n := len(f.signals); n > 0 {
					return fmt.Errorf("%d wait", n)
				}
				return nil
			})
			if ctx.Err() != nil {
				t.Errorf("%v, then SIGHUP and SIGUSR1: %v", first, ctx.Err())
			}
			f.signals <- second
			f.end(t)
			if err := context.Cause(ctx); err != context.Canceled {
				t.Errorf("%v and %v: %v", first, second, err)
			}
		}
	}
}

// TestStatus: the manager is notified of a status that has changed, once. The
// watchdog makes the interval short.
func TestStatus(t *testing.T) {
	m, f := manage(t, 400*time.Millisecond), newFixture()
	f.run()
	m.want("READY=1\nSTATUS=well")
	for _, status := range []string{"busy", "busy; very", "well"} {
		f.set(func() { f.status = strings.ReplaceAll(status, "; ", "\n") })
		for _, early := range append(m.await("STATUS="+status), m.next(), m.next()) {
			if early != "WATCHDOG=1" {
				t.Errorf("notification %q", early)
			}
		}
	}
	f.signals <- syscall.SIGTERM
	m.await("EXTEND_TIMEOUT_USEC=10000000") // again and again
	m.await("EXTEND_TIMEOUT_USEC=10000000")
	f.stop <- struct{}{}
	f.end(t)
}

// TestWatchdog: the watchdog is fed while the service is alive, and the log has one
// error when that ends.
func TestWatchdog(t *testing.T) {
	m, f := manage(t, 400*time.Millisecond), newFixture()
	f.run()
	m.want("READY=1\nSTATUS=well")
	m.want("WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1")
	for n := 1; n <= 2; n++ {
		f.set(func() { f.alive, f.status = errors.New("loop stands still"), fmt.Sprint("ill ", n) })
		m.await("STATUS=ill " + strconv.Itoa(n))
		for _, status := range []string{"still ill", "as ill as before", "as ill"} {
			f.set(func() { f.status = status })
			if fed := m.await("STATUS=" + status); len(fed) > 1 { // a look may have begun before
				t.Errorf("the watchdog is fed: %q", fed)
			}
		}
		f.set(func() { f.alive = nil })
		m.await("WATCHDOG=1")
		if got := f.log.Count("no progress"); got != n || f.log.Count(`error="loop stands still"`) != n {
			t.Errorf("the log has the error %d times, want %d:\n%s", got, n, f.log.String())
		}
	}
	f.signals <- syscall.SIGTERM
	m.await("STOPPING=1\nSTATUS=stopping: as ill")
	m.await("WATCHDOG=1") // a stop that goes on is alive
	f.stop <- struct{}{}
	f.end(t)
}

// TestNoWatchdog: without a watchdog the service is not looked at.
func TestNoWatchdog(t *testing.T) {
	m, f := manage(t, 0), newFixture()
	f.alive = errors.New("not asked")
	f.run()
	m.want("READY=1\nSTATUS=well")
	f.set(func() { f.status = "busy" })
	m.want("STATUS=busy")
	f.signals <- syscall.SIGTERM
	f.stop <- struct{}{}
	f.end(t)
	if f.log.Count("no progress") > 0 {
		t.Errorf("the log has\n%s", f.log.String())
	}
}

// TestNoManager: without a manager nothing is logged; a manager that is gone is
// reported.
func TestNoManager(t *testing.T) {
	for socket, want := range map[string]bool{"": false, filepath.Join(t.TempDir(), "none"): true} {
		t.Setenv("NOTIFY_SOCKET", socket)
		f := newFixture()
		f.run()
		f.signals <- syscall.SIGTERM
		f.stop <- struct{}{}
		f.end(t)
		if got := f.log.Count("cannot notify the service manager") > 0; got != want {
			t.Errorf("socket %q, the log has\n%s", socket, f.log.String())
		}
	}
}

// TestRefused: the manager is notified of the reason in one line.
func TestRefused(t *testing.T) {
	m := manage(t, 0)
	service.Refused("configuration", errors.New("one\ntwo"))
	m.want("STATUS=configuration: one; two")
}

// TestSignals: SIGHUP and SIGUSR1 are held from Hold on, the signals that end the
// process from Catch on, and SIGPIPE ends nothing.
func TestSignals(t *testing.T) {
	signals := service.Hold()
	defer signal.Reset()
	raise := func(all ...syscall.Signal) {
		t.Helper()
		for _, s := range all {
			if err := syscall.Kill(os.Getpid(), s); err != nil {
				t.Fatal(err)
			}
			if got := <-signals; got != s {
				t.Errorf("signal %v, want %v", got, s)
			}
		}
	}
	raise(syscall.SIGHUP, syscall.SIGUSR1)
	service.Catch(signals)
	raise(syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGTERM, syscall.SIGINT)
	if !signal.Ignored(syscall.SIGPIPE) {
		t.Error("SIGPIPE is not ignored")
	}
}
