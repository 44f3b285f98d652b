package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
)

// TestField measures the servers of the field with a few messages. The measurement fails
// unless all acknowledged messages are stored. With BENCH=field the test includes the
// servers that are built from packages of the network, which takes minutes.
func TestField(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real servers")
	}
	test.Need(t, "smtp-source", "exim4", "smtpd")
	o := options{rounds: 1, messages: 500, budget: time.Minute, cases: []string{"B", "D"}, contestants: []string{"exim", "opensmtpd"}}
	if os.Getenv("BENCH") == "field" {
		o.contestants = names(fieldContestants())
	}
	var out, log strings.Builder
	if err := run(t.Context(), o, &out, &log); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	for _, name := range o.contestants {
		if n := strings.Count(out.String(), "\n| "+name+" "); n != 4 { // two tables with two cases
			t.Errorf("%s: %d results, want 4\n%s", name, n, &out)
		}
	}
	if strings.Contains(out.String(), "unknown") {
		t.Errorf("a version is unknown\n%s", &out)
	}
}

func TestReduced(t *testing.T) {
	w := workload{Messages: 100, Sessions: 50}
	for _, test := range []struct {
		server             server
		messages, sessions int
	}{
		{server{}, 100, 50},
		{server{share: 5}, 20, 50},
		{server{share: 1000}, 1, 50},
		{server{most: 5}, 100, 5},
		{server{most: 70}, 100, 50},
	} {
		if got := w.reduced(&test.server); got.Messages != test.messages || got.Sessions != test.sessions {
			t.Errorf("share %d, most %d: %d messages, %d sessions; want %d, %d",
				test.server.share, test.server.most, got.Messages, got.Sessions, test.messages, test.sessions)
		}
	}
}

// TestGroup checks that a control group counts a process whose parent has ended, and kills
// it.
func TestGroup(t *testing.T) {
	test.NeedRoot(t)
	h, err := newHarness(t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.close() }) // again, if the test fails
	cmd := exec.Command("sh", "-c", "read line; (while :; do :; done) & exit")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := test.Start(h, cmd)
	var g group
	if err := h.try(func() { g = newGroup(h, cmd.Process.Pid) }); err != nil {
		t.Fatal(errors.Join(err, h.close()))
	}
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	test.Await(t, nil, 10*time.Second, "wait for the CPU time", func() error {
		if cpu, err := g.cpu(); err != nil || cpu < 50*time.Millisecond {
			return errors.Join(err, errors.New(cpu.String()))
		}
		return nil
	})
	if pids := g.processes(cmd.Process.Pid); len(pids) != 2 || pids[0] != cmd.Process.Pid {
		t.Errorf("processes %v; want %d and another one", pids, cmd.Process.Pid)
	}
	if err := h.close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(string(g)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s still exists: %v", g, err)
	}
}

// TestInstalled checks that a failed build leaves nothing and skips the contestant with the
// last line of its output.
func TestInstalled(t *testing.T) {
	root, err := test.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{dir: t.TempDir(), log: t.Output()}
	name := filepath.Base(h.dir)
	build := func(script string) (dir string, err error) {
		err = h.try(func() {
			dir = installed(t.Context(), h, name, func(dir string) *exec.Cmd { return exec.Command("sh", "-c", script, "sh", dir) })
		})
		return dir, err
	}
	want := filepath.Join(root, "build", "servers", name)
	if _, err := build("echo some; echo no network; exit 1"); !errors.Is(err, errSkipped) || !strings.Contains(err.Error(), ": no network") {
		t.Errorf("a build that fails: %v", err)
	}
	if _, err := os.Stat(want); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a build that fails leaves %s: %v", want, err)
	}
	t.Cleanup(func() { os.RemoveAll(want) })
	for _, script := range []string{`echo built >"$1/program"`, "exit 1"} { // the second one does not run
		dir, err := build(script)
		if err != nil || dir != want {
			t.Fatalf("%s, %v; want %s", dir, err, want)
		}
		if text, err := os.ReadFile(filepath.Join(dir, "program")); err != nil || !bytes.Equal(text, []byte("built\n")) {
			t.Errorf("the program is %q, %v", text, err)
		}
	}
}
