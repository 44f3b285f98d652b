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

// A clock is what programs under libfaketime take for the time of day.
type clock struct{ file string }

// libFaketime is where Debian's package libfaketime has the library for
// programs with threads.
const libFaketime = "/usr/lib/*/faketime/libfaketimeMT.so.1"

func newClock(t *testing.T) clock {
	t.Helper()
	if found, err := filepath.Glob(libFaketime); err != nil || len(found) == 0 {
		test.Need(t, libFaketime) // fails or skips: it is no program
	}
	c := clock{filepath.Join(test.PublicDir(t), "clock")}
	c.set(t, 0)
	return c
}

// set puts the clock before or behind the machine's.
func (c clock) set(t *testing.T, by time.Duration) {
	t.Helper()
	// By a new file: half a line would be another time.
	text := fmt.Sprintf("%+d\n", int(by.Seconds()))
	if err := os.WriteFile(c.file+".new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(c.file+".new", c.file); err != nil {
		t.Fatal(err)
	}
}

// env is what a program needs to follow the clock; as on a machine whose time
// of day is set, what counts seconds goes on.
func (c clock) env() []string {
	found, _ := filepath.Glob(libFaketime)
	return []string{"LD_PRELOAD=" + strings.Join(found, ":"), "FAKETIME_TIMESTAMP_FILE=" + c.file,
		"FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"}
}

// steps are the faults of the clock.
func (c clock) steps(w *world) []fault {
	step := func(name string, by time.Duration) fault {
		return fault{name: name, subject: "clock", times: 20,
			ail:  func(t *testing.T) { c.set(t, by) },
			hold: func() time.Duration { return between(w.rand, 0, 2*time.Second) },
			mend: func(t *testing.T) { c.set(t, 0) },
		}
	}
	return []fault{step("clock an hour ahead and back", time.Hour), step("clock an hour behind and back", -time.Hour)}
}

// TestFaultsClock steps the time of day under the daemon. A static program
// asks the kernel alone for the time: it runs in an emulator, which asks the
// library that lies.
func TestFaultsClock(t *testing.T) {
	d := shared.Daemon(t, map[string]string{"GSMTP_TIMEOUT": "20"})
	test.NeedRoot(t)
	test.Need(t, "qemu-x86_64", "setpriv")
	c := newClock(t)
	d.Under = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env"}, append(c.env(), "qemu-x86_64")...)
	delete(d.Keys, "SGID")
	delete(d.Keys, "GUID")
	d.Configure(t, nil)
	d.Start(t)
	w := &world{whole: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, db: openFile(t, d)}
	begun := time.Now()
	w.startLoad(t)
	w.run(t, c.steps(w))
	log := d.Log()
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		hour := func(now time.Time) bool { return strings.Contains(log, now.UTC().Add(by).Format("2006-01-02T15")) }
		if !hour(begun) && !hour(time.Now()) { // the hour may end during the test
			t.Errorf("the daemon has not seen the clock step by %v", by)
		}
	}
}

// TestFaultsDatabaseClock steps it under the database.
func TestFaultsDatabaseClock(t *testing.T) {
	d := shared.Daemon(t, nil)
	c := newClock(t)
	m := servers.MariaDBUnder(t, c.env())
	m.CreateTable(t, "new_mail")
	d.Configure(t, m.Keys())
	d.Start(t)
	w := &world{whole: t, rand: newRand(t), daemons: []*daemon.Daemon{d}, db: m.Connect(t)}
	w.startLoad(t)
	w.run(t, c.steps(w))
}
