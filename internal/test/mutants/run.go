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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The timeout of a test with a mutant is leastTime plus slowdown times the duration of
// the test without the mutant.
const (
	leastTime = 30 * time.Second
	slowdown  = 4
)

// baseTime bounds a test without a mutant.
const baseTime = 10 * time.Minute

// A worker has its own copy of the tree.
type worker struct {
	dir string // contains the tree, compiled tests and temporary files
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
	if slices.Contains(c.build, "-race") {
		cgo = "1"
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
	// At its limit the test binary ends itself and lists the tests that were running.
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
	o := examine(out.String(), strings.Count(c.run, "/"))
	o.took, o.failed = took, err != nil
	if o.failed && o.by == "" {
		o.by = err.Error()
	}
	return o, nil
}

// endOrphans kills the servers of a test that crashed: a server that has changed its
// user receives no parent-death signal. The servers inherit TMPDIR, which identifies
// them.
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

// examine reads the output of go test -v. depth is the number of levels of subtests
// that the expression names; package testing indents each level by four spaces.
func examine(out string, depth int) (o outcome) {
	for _, m := range passLine.FindAllStringSubmatch(out, -1) {
		o.passed = o.passed || len(m[1]) >= 4*depth
	}
	if m := skipLine.FindStringSubmatch(out); m != nil {
		o.skipped = m[2] + ": " + m[1]
	}
	o.reason = strings.TrimSpace(messageLine.FindString(out))
	if m := timeoutLine.FindStringSubmatch(out); m != nil {
		o.by = m[1] + " (hangs)"
		return o
	}
	deepest := -1
	for _, m := range failLine.FindAllStringSubmatch(out, -1) {
		if len(m[1]) > deepest {
			deepest, o.by = len(m[1]), m[2]
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

// A verdict is the result of trying a mutant.
type verdict struct {
	mutant *mutant
	killed bool
	by     string
	reason string
	err    error // the mutant could not be judged
	took   time.Duration
}

// try judges one mutant. base has the results of all commands without a mutant.
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
	// A test may build the program, so check that all packages compile: -export compiles
	// them without linking, and the empty format suppresses all output except errors.
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

// A baseline is the result of a command without a mutant.
type baseline struct {
	took time.Duration
	err  error // the command fails or runs no test
}

// pass runs a command without a mutant; it must pass.
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
