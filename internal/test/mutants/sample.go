package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A sample is the work of `make mutate`: size random mutants of each package.
type sample struct {
	packages []string
	tests    []string // packages whose tests run; nil = the mutated package
	size     int
	seed     uint64
}

// runSample tries a sample and prints the survivors of each package. A survivor is not
// an error, since some mutants have no observable effect.
func runSample(ctx context.Context, root string, s *sample, jobs int, verbose bool) (err error) {
	workers, end, err := newWorkers(root, jobs)
	if err != nil {
		return err
	}
	defer func() {
		if e := end(); err == nil {
			err = e
		}
	}()
	for _, dir := range s.packages {
		tests := s.tests
		if tests == nil {
			tests = []string{dir}
		}
		drawn, err := random(root, dir, tests, s.seed)
		if err != nil {
			return err
		}
		if len(drawn) == 0 {
			continue
		}
		base := runBase(ctx, workers, drawn[:1])
		for _, b := range base {
			if b.err != nil {
				return b.err
			}
		}
		begun := time.Now()
		verdicts := s.judge(ctx, workers, drawn, base, verbose)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		survived := 0
		for _, v := range verdicts {
			if !v.killed {
				survived++
				fmt.Printf("\n%s survives: %s\n%s", v.mutant.name, v.mutant.what, v.mutant.diff())
			}
		}
		fmt.Printf("\n%s, seed %d: killed %d of %d in %v\n", dir, s.seed, len(verdicts)-survived, len(verdicts), time.Since(begun).Round(time.Second))
	}
	return nil
}

// judge tries mutants in their order until size of them compile.
func (s *sample) judge(ctx context.Context, workers []*worker, drawn []*mutant, base map[string]baseline, verbose bool) (verdicts []verdict) {
	var mu sync.Mutex
	judged := 0
	take := func() *mutant {
		mu.Lock()
		defer mu.Unlock()
		if judged >= s.size || len(drawn) == 0 || ctx.Err() != nil {
			return nil
		}
		m := drawn[0]
		drawn = drawn[1:]
		judged++
		return m
	}
	each(workers, workers, func(_, w *worker) struct{} {
		for m := take(); m != nil; m = take() {
			v := w.try(ctx, m, base)
			mu.Lock()
			if errors.Is(v.err, errCompile) {
				judged-- // another mutant replaces it
			} else if ctx.Err() == nil {
				verdicts = append(verdicts, v)
				fmt.Println(v.line(verbose))
			}
			mu.Unlock()
		}
		return struct{}{}
	})
	return verdicts
}
