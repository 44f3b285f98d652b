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

const timeout = 20 * time.Second

// A manager receives the notifications of the service.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

// newManager makes the test the service manager, with a watchdog of this interval, 0 =
// none.
func newManager(t *testing.T, watchdog time.Duration) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
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

// next returns the next notification, with N in place of times.
func (m *manager) next() string {
	m.t.Helper()
	b := make([]byte, 4096)
	n, err := m.conn.Read(b)
	if err != nil {
		m.t.Fatal(err)
	}
	return regexp.MustCompile(`MONOTONIC_USEC=[1-9][0-9]+`).ReplaceAllString(string(b[:n]), "MONOTONIC_USEC=N")
}

// want checks the next notifications.
func (m *manager) want(want ...string) {
	m.t.Helper()
	for _, w := range want {
		if got := m.next(); got != w {
			m.t.Errorf("notification %q, want %q", got, w)
		}
	}
}

// await reads notifications up to want, and returns those before it.
func (m *manager) await(want string) (before []string) {
	m.t.Helper()
	for got := m.next(); got != want; got = m.next() {
		before = append(before, got)
	}
	return before
}

// A fixture is a service whose functions return what the test sets.
type fixture struct {
	*service.Service
	log      test.Log
	signals  chan os.Signal
	counters chan struct{} // calls of LogCounters
	stopping chan context.Context
	stop     chan struct{} // lets Stop return
	returned chan struct{} // closed when Run has returned

	mu     sync.Mutex
	status string
	reload error
	alive  error
}

func newFixture() *fixture {
	f := &fixture{
		signals: make(chan os.Signal, 8), counters: make(chan struct{}, 8),
		stopping: make(chan context.Context, 1), stop: make(chan struct{}, 1), returned: make(chan struct{}), status: "good",
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
		Reload:      locked(&f.reload),
		LogCounters: func() { f.counters <- struct{}{} },
		Alive:       func(context.Context) error { return locked(&f.alive)() },
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

// run calls Run in a goroutine.
func (f *fixture) run() {
	go func() {
		defer close(f.returned)
		f.Run()
	}()
}

// set changes what the functions of the service return.
func (f *fixture) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// awaitReturn waits until Run returns.
func (f *fixture) awaitReturn(t *testing.T) {
	t.Helper()
	select {
	case <-f.returned:
	case <-time.After(timeout):
		t.Fatal("Run has not returned")
	}
}

// TestNotifications: the notifications and the log lines of each signal.
func TestNotifications(t *testing.T) {
	m, f := newManager(t, 0), newFixture()
	f.run()
	m.want("READY=1\nSTATUS=good")
	f.signals <- syscall.SIGUSR1
	<-f.counters
	f.signals <- syscall.SIGHUP
	m.want("RELOADING=1\nMONOTONIC_USEC=N", "READY=1\nSTATUS=good")
	f.set(func() { f.reload = errors.New("no\nsuch key") })
	f.signals <- syscall.SIGHUP
	m.want("RELOADING=1\nMONOTONIC_USEC=N", "READY=1\nSTATUS=good; the last reload was refused: no; such key")
	f.set(func() { f.reload, f.status = nil, "very good" })
	f.signals <- syscall.SIGHUP
	if early := m.await("READY=1\nSTATUS=very good"); !slices.Contains(early, "RELOADING=1\nMONOTONIC_USEC=N") {
		t.Errorf("notifications %q, want RELOADING=1", early)
	}
	f.signals <- syscall.SIGTERM
	ctx := <-f.stopping
	m.await("STOPPING=1\nSTATUS=stopping: very good")
	if end, ok := ctx.Deadline(); !ok || time.Until(end) > 20*time.Second || time.Until(end) < 10*time.Second {
		t.Errorf("deadline of the stop: %v, %v, want one in 10 to 20 s", end, ok)
	}
	f.stop <- struct{}{}
	f.awaitReturn(t)
	for event, want := range map[string]int{"msg=reloaded": 2, `msg="reload refused`: 1, "msg=stopping signal=terminated": 1, "level=WARN": 0, "level=ERROR": 1} {
		if n := f.log.Count(event); n != want {
			t.Errorf("the log contains %s %d times, want %d:\n%s", event, n, want, f.log.String())
		}
	}
}

// TestStop: a second SIGTERM or SIGINT cancels the context of Stop; other signals do
// not.
func TestStop(t *testing.T) {
	m := newManager(t, 0)
	for _, first := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for _, second := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
			f := newFixture()
			f.run()
			m.await("READY=1\nSTATUS=good")
			f.signals <- first
			ctx := <-f.stopping
			f.signals <- syscall.SIGHUP
			f.signals <- syscall.SIGUSR1
			test.Await(t, nil, timeout, "signals are not read", func() error {
				if n := len(f.signals); n > 0 {
					return fmt.Errorf("%d are queued", n)
				}
				return nil
			})
			if ctx.Err() != nil {
				t.Errorf("%v, then SIGHUP and SIGUSR1: context %v, want it alive", first, ctx.Err())
			}
			f.signals <- second
			f.awaitReturn(t)
			if err := context.Cause(ctx); err != context.Canceled {
				t.Errorf("%v, then %v: cause %v, want %v", first, second, err, context.Canceled)
			}
		}
	}
}

// TestStatus: the manager is notified once of each change of the status. The watchdog
// shortens the interval.
func TestStatus(t *testing.T) {
	m, f := newManager(t, 400*time.Millisecond), newFixture()
	f.run()
	m.want("READY=1\nSTATUS=good")
	for _, status := range []string{"busy", "busy; very", "good"} {
		f.set(func() { f.status = strings.ReplaceAll(status, "; ", "\n") })
		for _, early := range append(m.await("STATUS="+status), m.next(), m.next()) {
			if early != "WATCHDOG=1" {
				t.Errorf("notification %q, want WATCHDOG=1", early)
			}
		}
	}
	f.signals <- syscall.SIGTERM
	m.await("EXTEND_TIMEOUT_USEC=10000000") // in each interval
	m.await("EXTEND_TIMEOUT_USEC=10000000")
	f.stop <- struct{}{}
	f.awaitReturn(t)
}

// TestWatchdog: the watchdog is notified while the service is alive. The log has one
// error for each time that this ends.
func TestWatchdog(t *testing.T) {
	m, f := newManager(t, 400*time.Millisecond), newFixture()
	f.run()
	m.want("READY=1\nSTATUS=good")
	m.want("WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1")
	for n := 1; n <= 2; n++ {
		f.set(func() { f.alive, f.status = errors.New("loop is blocked"), fmt.Sprint("blocked ", n) })
		m.await("STATUS=blocked " + strconv.Itoa(n))
		for _, status := range []string{"first change", "second change", "third change"} {
			f.set(func() { f.status = status })
			if early := m.await("STATUS=" + status); len(early) > 1 { // a check may have begun before
				t.Errorf("notifications %q, want no WATCHDOG=1", early)
			}
		}
		f.set(func() { f.alive = nil })
		m.await("WATCHDOG=1")
		if got := f.log.Count("no progress"); got != n || f.log.Count(`error="loop is blocked"`) != n {
			t.Errorf("the log contains the error %d times, want %d:\n%s", got, n, f.log.String())
		}
	}
	f.signals <- syscall.SIGTERM
	m.await("STOPPING=1\nSTATUS=stopping: third change")
	m.await("WATCHDOG=1") // a stop that makes progress is alive
	f.stop <- struct{}{}
	f.awaitReturn(t)
}

// TestNoWatchdog: without a watchdog Alive is not called.
func TestNoWatchdog(t *testing.T) {
	m, f := newManager(t, 0), newFixture()
	f.alive = errors.New("called")
	f.run()
	m.want("READY=1\nSTATUS=good")
	f.set(func() { f.status = "busy" })
	m.want("STATUS=busy")
	f.signals <- syscall.SIGTERM
	f.stop <- struct{}{}
	f.awaitReturn(t)
	if f.log.Count("no progress") > 0 {
		t.Errorf("the log contains an error of the watchdog:\n%s", f.log.String())
	}
}

// TestNoManager: without a manager no error is logged. A notification that cannot be
// sent is logged.
func TestNoManager(t *testing.T) {
	for socket, want := range map[string]bool{"": false, filepath.Join(t.TempDir(), "none"): true} {
		t.Setenv("NOTIFY_SOCKET", socket)
		f := newFixture()
		f.run()
		f.signals <- syscall.SIGTERM
		f.stop <- struct{}{}
		f.awaitReturn(t)
		if got := f.log.Count("cannot notify the service manager") > 0; got != want {
			t.Errorf("socket %q: warning %v, want %v:\n%s", socket, got, want, f.log.String())
		}
	}
}

// TestNotifyFailure: the notification has the reason in one line.
func TestNotifyFailure(t *testing.T) {
	m := newManager(t, 0)
	service.NotifyFailure("configuration", errors.New("one\ntwo"))
	m.want("STATUS=configuration: one; two")
}

// TestQueueSignals: QueueSignals queues SIGHUP and SIGUSR1; QueueStopSignals adds SIGTERM
// and SIGINT, and ignores SIGPIPE.
func TestQueueSignals(t *testing.T) {
	signals := service.QueueSignals()
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
	service.QueueStopSignals(signals)
	raise(syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGTERM, syscall.SIGINT)
	if !signal.Ignored(syscall.SIGPIPE) {
		t.Error("SIGPIPE is not ignored")
	}
}
