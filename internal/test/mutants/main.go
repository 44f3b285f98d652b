// Command mutants tests the tests. A mutant is one small change of the program
// that a test should notice. The command applies mutants one by one in a copy of
// the working tree, runs the tests that should fail, and reports the mutants that
// survive. No package contains it.
//
// `make mutants` tries the mutants in the directories below this package: changes that
// break a promise of the program. Each is a file in the format of type mutant.
//
// `make mutate` tries a random sample of the changes that function edits can make to a
// package. Some of them have no observable effect, so read each survivor.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// lists is the directory of the mutants, relative to the root of the tree.
const lists = "internal/test/mutants"

func main() {
	expr := flag.String("run", "", "try only the mutants whose `name` matches this regular expression")
	jobs := flag.Int("j", runtime.GOMAXPROCS(0), "`number` of mutants to try concurrently")
	verbose := flag.Bool("v", false, "print the first message of each test that failed")
	var s sample
	flag.Func("packages", "try random mutants of the packages in these `directories`, separated by commas", func(list string) error {
		s.packages = packages(list)
		return nil
	})
	flag.Func("tests", "run the tests of the packages in these `directories`, separated by commas, instead of those of the mutated package", func(list string) error {
		s.tests = packages(list)
		return nil
	})
	flag.IntVar(&s.size, "n", 30, "`number` of random mutants per package")
	flag.Uint64Var(&s.seed, "seed", 1, "`seed` of the random choice")
	flag.Parse()
	match, err := regexp.Compile(*expr)
	if err != nil || *jobs < 1 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program immediately
	dir, err := root()
	if err == nil && s.packages != nil {
		err = runSample(ctx, dir, &s, *jobs, *verbose)
	} else if err == nil {
		err = run(ctx, dir, match, *jobs, *verbose)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// run tries the mutants of the tree whose name matches.
func run(ctx context.Context, root string, match *regexp.Regexp, jobs int, verbose bool) (err error) {
	all, err := load(filepath.Join(root, lists))
	if err != nil {
		return err
	}
	var chosen []*mutant
	for i := range all {
		if match.MatchString(all[i].name) {
			chosen = append(chosen, &all[i])
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no mutant matches %q", match)
	}
	workers, end, err := newWorkers(root, min(jobs, len(chosen)))
	if err != nil {
		return err
	}
	defer func() {
		if e := end(); err == nil {
			err = e
		}
	}()
	begun := time.Now()
	base := runBase(ctx, workers, chosen)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	verdicts := each(workers, chosen, func(w *worker, m *mutant) verdict {
		v := w.try(ctx, m, base)
		if ctx.Err() == nil {
			fmt.Println(v.line(verbose))
		}
		return v
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return conclude(verdicts, time.Since(begun))
}

// newWorkers returns n workers; end removes their directory.
func newWorkers(root string, n int) (workers []*worker, end func() error, err error) {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return nil, nil, err
	}
	end = func() error { return remove(dir) }
	// Servers that change their user must be able to enter it.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, nil, errors.Join(err, end())
	}
	for i := range n {
		w, err := newWorker(root, filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return nil, nil, errors.Join(err, end())
		}
		workers = append(workers, w)
	}
	return workers, end, nil
}

// runBase runs all commands of the mutants without a mutant.
func runBase(ctx context.Context, workers []*worker, mutants []*mutant) map[string]baseline {
	var commands []command
	seen := map[string]bool{}
	for _, m := range mutants {
		for _, c := range m.tests {
			if !seen[c.text] {
				seen[c.text] = true
				commands = append(commands, c)
			}
		}
	}
	fmt.Printf("running %d tests without a mutant\n", len(commands))
	results := each(workers, commands, func(w *worker, c command) baseline { return w.pass(ctx, c) })
	base := map[string]baseline{}
	for i, c := range commands {
		base[c.text] = results[i]
	}
	return base
}

// each calls do for every item on a free worker, and returns the results in the order
// of the items.
func each[Item, Result any](workers []*worker, items []Item, do func(*worker, Item) Result) []Result {
	results := make([]Result, len(items))
	next := make(chan int)
	var running sync.WaitGroup
	for _, w := range workers {
		running.Go(func() {
			// A process receives its parent-death signal when the thread that started it
			// ends.
			runtime.LockOSThread()
			for i := range next {
				results[i] = do(w, items[i])
			}
		})
	}
	for i := range items {
		next <- i
	}
	close(next)
	running.Wait()
	return results
}

// line returns the line to print after a mutant has been tried.
func (v *verdict) line(verbose bool) string {
	result, detail := "SURVIVED", ""
	switch {
	case v.err != nil:
		result, detail = "ERROR", "  "+v.err.Error()
	case v.killed:
		result, detail = "killed", "  by "+v.by
	}
	if verbose && v.reason != "" {
		detail += fmt.Sprintf("\n\t%.200s", v.reason)
	}
	return fmt.Sprintf("%-9s %-44s %5.1f s%s", result, v.mutant.name, v.took.Seconds(), detail)
}

// conclude prints the mutants that were not killed and the result. It returns
// an error unless all were killed.
func conclude(verdicts []verdict, took time.Duration) error {
	var survived, failed []string
	for _, v := range verdicts {
		m := v.mutant
		switch {
		case v.err != nil:
			failed = append(failed, m.name)
		case !v.killed:
			survived = append(survived, m.name)
			fmt.Printf("\n%s survives: %s\n%s\n", m.name, m.what, m.diff())
			for _, c := range m.tests {
				fmt.Println("passes:", c.text)
			}
		}
	}
	fmt.Printf("\nkilled %d of %d in %v\n", len(verdicts)-len(survived)-len(failed), len(verdicts), took.Round(time.Second))
	if len(survived) > 0 {
		fmt.Println("survived:", strings.Join(survived, " "))
	}
	if len(failed) > 0 {
		fmt.Println("not judged:", strings.Join(failed, " "))
	}
	if n := len(survived) + len(failed); n > 0 {
		return fmt.Errorf("%d mutants not killed", n)
	}
	return nil
}

// diff returns the change of a mutant in readable form.
func (m *mutant) diff() string {
	mark := func(sign, text string) string {
		if text == "" {
			return ""
		}
		return sign + strings.ReplaceAll(text, "\n", "\n"+sign) + "\n"
	}
	return m.where + ":\n" + mark("- ", m.before) + mark("+ ", m.after)
}
