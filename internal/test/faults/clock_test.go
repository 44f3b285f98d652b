package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/daemon"
	"goguerrillad/internal/test/servers"
)

// A clock is the wall clock of programs that run with libfaketime. The programs read its
// difference from the machine's clock in a file.
type clock struct{ file string }

// libFaketime is the path of the library for programs with threads in Debian's package
// libfaketime.
const libFaketime = "/usr/lib/*/faketime/libfaketimeMT.so.1"

func newClock(t *testing.T) clock {
	t.Helper()
	if found, err := filepath.Glob(libFaketime); err != nil || len(found) == 0 {
		test.Need(t, libFaketime) // fails or skips the test, since the library is not a program
	}
	c := clock{filepath.Join(test.PublicDir(t), "clock")}
	c.set(t, 0)
	return c
}

// set sets the difference between the clock and the machine's clock.
func (c clock) set(t *testing.T, by time.Duration) {
	t.Helper()
	// A rename is atomic: a program that reads half a line would read a wrong time.
	text := fmt.Sprintf("%+d\n", int(by.Seconds()))
	if err := os.WriteFile(c.file+".new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(c.file+".new", c.file); err != nil {
		t.Fatal(err)
	}
}

// env returns the environment of a program that uses the clock. The monotonic clock is
// not changed, as on a machine whose wall clock is set.
func (c clock) env() []string {
	found, _ := filepath.Glob(libFaketime)
	return []string{"LD_PRELOAD=" + strings.Join(found, ":"), "FAKETIME_TIMESTAMP_FILE=" + c.file,
		"FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"}
}

// steps returns the faults of the clock.
func (c clock) steps(w *faultTest) []fault {
	step := func(name string, by time.Duration) fault {
		return fault{name: name, subject: "clock", times: 20,
			start:    func(t *testing.T) { c.set(t, by) },
			duration: func() time.Duration { return between(w.rand, 500*time.Millisecond, 2*time.Second) }, // the log must have an entry
			end:      func(t *testing.T) { c.set(t, 0) },
		}
	}
	return []fault{step("clock one hour ahead", time.Hour), step("clock one hour behind", -time.Hour)}
}

// TestFaultsClock changes the wall clock of the daemon. A static program reads the time
// from the kernel, so the daemon runs in an emulator, which uses the library.
func TestFaultsClock(t *testing.T) {
	d := shared.Daemon(t, map[string]string{"GSMTP_TIMEOUT": "20"})
	test.NeedRoot(t)
	test.Need(t, "qemu-x86_64", "setpriv")
	c := newClock(t)
	d.Wrapper = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env"}, append(c.env(), "qemu-x86_64")...)
	delete(d.Keys, "SGID")
	delete(d.Keys, "GUID")
	d.Configure(t, nil)
	d.Start(t)
	w := &faultTest{parent: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, db: openFile(t, d)}
	began := time.Now()
	w.startLoad(t)
	w.run(t, c.steps(w))
	log := d.Log()
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		hour := func(now time.Time) bool { return strings.Contains(log, now.UTC().Add(by).Format("2006-01-02T15")) }
		if !hour(began) && !hour(time.Now()) { // the hour may change during the test
			t.Errorf("the log has no time changed by %v", by)
		}
	}
}

// TestFaultsDatabaseClock changes the wall clock of the database.
func TestFaultsDatabaseClock(t *testing.T) {
	d := shared.Daemon(t, nil)
	c := newClock(t)
	m := servers.MariaDBWithEnv(t, c.env())
	m.CreateTable(t, "new_mail")
	d.Configure(t, m.Keys())
	d.Start(t)
	w := &faultTest{parent: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, db: m.Connect(t)}
	w.startLoad(t)
	w.run(t, c.steps(w))
}
