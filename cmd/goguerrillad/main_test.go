package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	testdaemon "goguerrillad/internal/test/daemon"
)

// shared builds the daemon once for all tests.
var shared = testdaemon.NewSuite("main")

func TestMain(m *testing.M) {
	testscript.Main(suite{m}, map[string]func(){"goguerrillad": main})
}

// suite runs the tests of shared for testscript.Main.
type suite struct{ m *testing.M }

func (s suite) Run() int { return shared.Run(s.m) }

// TestScripts runs testdata/script. The scripts have the commands of testscript and of
// the map, and the variables ADDR (a free address), SGID and GUID (empty unless the
// tests run as root).
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup:               func(env *testscript.Env) error { return setup(t, env) },
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   exits,
			"refused": refused,
			"expand":  expand,
			"await":   await,
			"build":   build,
			"deliver": deliver,
			"cert":    cert,
		},
	})
}

func setup(t *testing.T, env *testscript.Env) error {
	env.Setenv("ADDR", fmt.Sprintf("127.0.0.1:%d", test.FreePort(t)))
	env.Setenv("SGID", "")
	env.Setenv("GUID", "")
	if os.Geteuid() != 0 {
		return nil
	}
	env.Setenv("SGID", "nogroup")
	env.Setenv("GUID", "nobody")
	// The daemon runs as nobody and needs to write to the directory.
	if err := os.Chmod(filepath.Dir(env.WorkDir), 0o755); err != nil {
		return err
	}
	return os.Chown(env.WorkDir, 65534, 65534)
}

// exits CODE PROGRAM ARGS... runs a program and checks its exit status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// refused FILE PATTERN checks that the daemon refuses the file, with and without -t:
// the exit status is 78, and stderr has one line that starts with the file name and
// matches the pattern.
func refused(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: refused FILE PATTERN")
	}
	for _, flags := range [][]string{{"-t"}, {}} {
		exits(ts, false, append([]string{"78", "goguerrillad", "-config", args[0]}, flags...))
		stderr := ts.ReadFile("stderr")
		pattern := "^goguerrillad: " + regexp.QuoteMeta(args[0]) + args[1] + "\n$"
		if !regexp.MustCompile(pattern).MatchString(stderr) {
			ts.Fatalf("stderr does not match %s:\n%s", pattern, stderr)
		}
		if strings.Contains(stderr, "$ecure1t") {
			ts.Fatalf("stderr contains a password: %s", stderr)
		}
		if stdout := ts.ReadFile("stdout"); stdout != "" {
			ts.Fatalf("stdout: %s", stdout)
		}
	}
}

// expand FILE... replaces $NAME in files by the script's variables.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	for _, file := range args {
		text := os.Expand(ts.ReadFile(file), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o644))
	}
}

// build links the built program into the script's directory. The test binary cannot
// serve as root if it is built with cgo, as for the race detector.
func build(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(os.Symlink(shared.Daemon(scriptT{ts}, nil).Program, ts.MkAbs("goguerrillad")))
}

// await ADDR waits for the greeting of the daemon.
func await(ts *testscript.TestScript, neg bool, args []string) {
	test.Await(scriptT{ts}, nil, 20*time.Second, "waiting for the greeting on "+args[0], func() error {
		c, err := client.Connect(args[0], 5*time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// deliver ADDR FROM TO FILE sends a file as a message and sets HASH.
func deliver(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: deliver ADDR FROM TO FILE")
	}
	c, err := client.Connect(args[0], 10*time.Second)
	ts.Check(err)
	defer c.Close()
	ts.Check(c.Hello())
	text := strings.ReplaceAll(ts.ReadFile(args[3]), "\n", "\r\n")
	r, err := c.Send(args[1], "", []string{args[2]}, []byte(text))
	ts.Check(err)
	if r.Code != 250 || len(r.Hash()) != 32 {
		ts.Fatalf("reply to the message: %v", r)
	}
	ts.Setenv("HASH", r.Hash())
}

// cert NAME creates NAME.crt and NAME.key.
func cert(ts *testscript.TestScript, neg bool, args []string) {
	test.NewCertificate(scriptT{ts}, ts.Getenv("WORK"), args[0])
}

// scriptT implements test.T for a script.
type scriptT struct{ *testscript.TestScript }

func (t scriptT) Helper()                       {}
func (t scriptT) Cleanup(f func())              { t.Defer(f) }
func (t scriptT) TempDir() string               { return t.Getenv("WORK") }
func (t scriptT) Skipf(format string, a ...any) { t.Fatalf("a script cannot skip: "+format, a...) }
