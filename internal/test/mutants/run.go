package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The test of a mutant may take leastTime plus slowdown times its time without the
// mutant; a longer test counts as one that hangs.
const (
	leastTime = 30 * time.Second
	slowdown  = 4
)

// baseTime bounds a test without a mutant.
const baseTime = 10 * time.Minute

// A worker has its own copy of the tree.
type worker struct {
	dir string // holds the tree, compiled tests and temporary files
}

func newWorker(root, dir string) (*worker, error) {
	w := &worker{dir}
	for _, d := range []string{w.tree(), w.path("tmp")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	return w, copyTree(root, w.tree())
}

func (w *worker) path(name string) string { return filepath.Join(w.dir, name) }
func (w *worker) tree() string            { return w.path("tree") }

// An outcome is the result of one command.
type outcome struct {
	failed  bool
	by      string // the test that failed, or how the process ended
	reason  string // the first message of a test that failed
	skipped string // a test that was skipped
	passed  bool   // a test that the expression names has run and passed
	took    time.Duration
}

// compile makes the test binary of a command.
func (w *worker) compile(ctx context.Context, c command) error {
	args := append([]string{"test", "-c", "-o", w.binary(c)}, c.build...)
	return w.goTool(ctx, c, append(args, "./"+c.dir)...)
}

func (w *worker) binary(c command) string {
	name := strings.Join(append([]string{c.dir}, c.build...), " ")
	return w.path(strings.NewReplacer("/", "_", " ", "_").Replace(name) + ".test")
}

func (w *worker) goTool(ctx context.Context, c command, args ...string) error {
	cmd := w.command(ctx, c, "go", args...)
	cmd.Dir = w.tree()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// command prepares a process that ends with ctx, and with this program.
func (w *worker) command(ctx context.Context, c command, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // a grandchild may keep a pipe open
	cgo := "0"
	for _, flag := range c.build {
		if flag == "-race" {
			cgo = "1"
		}
	}
	// All copies of the tree share one build cache, which -trimpath makes
	// independent of their paths.
	flags := strings.TrimSpace(os.Getenv("GOFLAGS") + " -trimpath")
	cmd.Env = append(os.Environ(), "GOFLAGS="+flags, "CGO_ENABLED="+cgo, "TMPDIR="+w.path("tmp"))
	cmd.Env = append(cmd.Env, c.env...)
	return cmd
}

// test runs a compiled test. An error means that ctx has ended or the test
// could not be started.
func (w *worker) test(ctx context.Context, c command, limit time.Duration) (outcome, error) {
	args := append([]string{"-test.v", "-test.count=1", "-test.failfast", "-test.timeout=" + limit.String()}, c.flags...)
	// The test ends itself at its limit and lists what was running.
	killed, cancel := context.WithTimeout(ctx, limit+10*time.Second)
	defer cancel()
	cmd := w.command(killed, c, w.binary(c), args...)
	cmd.Dir = filepath.Join(w.tree(), c.dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	begun := time.Now()
	err := cmd.Run()
	took := time.Since(begun)
	w.endOrphans()
	if ctx.Err() != nil {
		return outcome{}, context.Cause(ctx)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && killed.Err() == nil {
		return outcome{}, err
	}
	o := examine(out.String(), strings.Contains(c.run, "/"))
	o.took, o.failed = took, err != nil
	if o.failed && o.by == "" {
		o.by = err.Error()
	}
	return o, nil
}

// endOrphans kills the servers that a test has left running when it crashed: a
// server that has changed its user gets no parent-death signal. The directory
// for temporary files, which they inherit, tells them from other processes.
func (w *worker) endOrphans() {
	variable := []byte("TMPDIR=" + w.path("tmp") + "\x00")
	environments, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is well formed
	for _, path := range environments {
		environment, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(environment, variable) {
			continue // a process of another user, or one that has just ended
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
}

var (
	failLine    = regexp.MustCompile(`(?m)^( *)--- FAIL: (\S+)`)
	skipLine    = regexp.MustCompile(`(?m)(?:^ +\w+\.go:\d+: (.*)\n)?^ *--- SKIP: (\S+)`)
	passLine    = regexp.MustCompile(`(?m)^( *)--- PASS: `)
	messageLine = regexp.MustCompile(`(?m)^ +\w+\.go:\d+: .*`)
	panicLine   = regexp.MustCompile(`(?m)^(panic|fatal error): .*`)
	timeoutLine = regexp.MustCompile(`(?m)^panic: test timed out[^\n]*\n\trunning tests:\n\t\t(\S+)`)
)

// examine reads the output of go test -v.
func examine(out string, subtests bool) (o outcome) {
	for _, m := range passLine.FindAllStringSubmatch(out, -1) {
		o.passed = o.passed || !subtests || m[1] != ""
	}
	if m := skipLine.FindStringSubmatch(out); m != nil {
		o.skipped = m[2] + ": " + m[1]
	}
	o.reason = strings.TrimSpace(messageLine.FindString(out))
	if m := timeoutLine.FindStringSubmatch(out); m != nil {
		o.by = m[1] + " (hangs)"
		return o
	}
	depth := -1
	for _, m := range failLine.FindAllStringSubmatch(out, -1) {
		if len(m[1]) > depth {
			depth, o.by = len(m[1]), m[2]
		}
	}
	if p := panicLine.FindString(out); p != "" {
		o.reason = p
		if o.by == "" {
			o.by = "a panic"
		}
	}
	return o
}

// errCompile means that a mutant does not compile, or that go vet reports it.
var errCompile = errors.New("the mutant does not compile")

// A verdict is the result of a mutant.
type verdict struct {
	mutant *mutant
	killed bool
	by     string
	reason string
	err    error // the mutant could not be judged
	took   time.Duration
}

// try judges one mutant. base has the outcomes of all commands without it.
func (w *worker) try(ctx context.Context, m *mutant, base map[string]baseline) (v verdict) {
	v.mutant = m
	begun := time.Now()
	defer func() { v.took = time.Since(begun) }()
	restore, err := m.change(w.tree())
	if err != nil {
		v.err = err
		return v
	}
	defer func() { v.err = errors.Join(v.err, restore()) }()
	// A test may build the program itself. -export compiles all packages and
	// links none; the empty format prints nothing but errors.
	if err := w.goTool(ctx, command{}, "list", "-export", "-f", `{{""}}`, "./..."); err != nil {
		v.err = fmt.Errorf("%w: %w", errCompile, err)
		return v
	}
	for _, c := range m.tests {
		b := base[c.text]
		if b.err != nil {
			v.err = b.err
			return v
		}
		if err := w.compile(ctx, c); err != nil {
			v.err = fmt.Errorf("%w: %w", errCompile, err)
			return v
		}
		o, err := w.test(ctx, c, (leastTime + slowdown*b.took).Round(time.Second))
		if err != nil {
			v.err = err
			return v
		}
		if o.failed {
			v.killed, v.by, v.reason = true, o.by, o.reason
			return v
		}
	}
	return v
}

// A baseline is a command without a mutant.
type baseline struct {
	took time.Duration
	err  error // it fails, or runs no test
}

// pass runs a command that must pass.
func (w *worker) pass(ctx context.Context, c command) baseline {
	if err := w.compile(ctx, c); err != nil {
		return baseline{err: err}
	}
	o, err := w.test(ctx, c, baseTime)
	switch {
	case err != nil:
	case o.failed:
		err = fmt.Errorf("%s fails without a mutant: %s", o.by, o.reason)
	case o.skipped != "" && c.run != everyTest:
		err = fmt.Errorf("skipped: %s", o.skipped)
	case !o.passed:
		err = errors.New("no test ran")
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", c.text, err)
	}
	return baseline{o.took, err}
}
