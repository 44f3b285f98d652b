// Command bench compares how fast goguerrillad and other servers receive messages on
// this machine. The client is Postfix's smtp-source. `make bench` runs it; no package
// contains it.
//
// Absolute figures change by a third from minute to minute. Each round therefore measures
// all contestants in random order, and the result is the ratio of their medians to the
// medians of smtp-sink in the same rounds. smtp-sink reads a message and discards it. The CPU
// time of the server per message depends less on the rest of the machine.
//
// BENCH=scaling (scaling.go) and BENCH=service (service.go) compare goguerrillad only with
// itself: with several numbers of loops, and as the package installs it.
//
// To add a contestant, add a line to contestants.go; to add a case, add a line to
// workload.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options come from flags or from the environment, which make sets.
type options struct {
	rounds      int           // measurements of each contestant in each case
	messages    int           // of one measurement; case D has a fifth
	budget      time.Duration // duration; a round that would exceed it does not begin
	seed        uint64        // of the order of measurements
	rows        int           // added to the tables, to measure their cost
	expire      int           // old rows that are deleted while messages arrive
	soak        int           // messages sent to measure the growth of memory
	out         string        // files to write, without .txt, .json and .svg; "" = none
	probes      bool          // also run the probes
	mode        string        // BENCH; "" = everything
	cases       []string      // names, empty = all
	contestants []string      // names, empty = all
}

// The values of BENCH.
const (
	short   = "short"
	scaling = "scaling" // several numbers of loops
	rivals  = "field"   // other mail servers
	service = "service" // the service of the package, on a booted Debian
)

func main() {
	if serve := role(os.Args); serve != nil {
		if err := serve(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	o, err := parseOptions(os.Args[1:], os.Getenv)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	// A second signal ends the program and the servers immediately.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := run(ctx, o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string, getenv func(string) string) (options, error) {
	o := options{rounds: 5, messages: 5000, seed: rand.Uint64()}
	cases, contestants := "", strings.Join(contestantNames(), ",")
	o.mode = getenv("BENCH")
	switch o.mode {
	case "":
	case short:
		o.rounds, o.messages, o.budget = 3, 2500, 130*time.Second
	case scaling:
		o.rounds, o.budget = 3, 6*time.Minute
		cases, contestants = "A,B,E", discard+",goguerrillad-sqlite,goguerrillad-mysql"
	case rivals:
		o.rounds, o.budget = 3, 14*time.Minute
		cases, contestants = fieldCases, strings.Join(fieldNames(), ",")
	case service:
		cases = "A"
	default:
		return o, fmt.Errorf("BENCH=%q: want short, scaling, service or field", o.mode)
	}
	if rounds := getenv("ROUNDS"); rounds != "" {
		n, err := strconv.Atoi(rounds)
		if err != nil {
			return o, fmt.Errorf("ROUNDS=%q: not a number", rounds)
		}
		o.rounds = n
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", o.rounds, "measurements of each contestant in each case, 1 to 100; ROUNDS")
	flags.IntVar(&o.messages, "messages", o.messages, "messages of one measurement, 100 to 1000000 (case D: a fifth)")
	flags.StringVar(&o.out, "out", getenv("BENCH_OUT"), "write the report to `path`.txt, .json and .svg; BENCH_OUT")
	flags.IntVar(&o.rows, "rows", 0, "measure with `n` more rows in the tables, 0 to 10000000 (takes minutes)")
	flags.IntVar(&o.soak, "soak", 0, "measure the memory after `n` messages, 0 to 10000000 (takes minutes)")
	flags.IntVar(&o.expire, "expire", 0, "measure while `n` old rows are deleted, 0 to 10000000 (takes minutes)")
	flags.BoolVar(&o.probes, "probes", o.mode == "", "run the probes, each for one server")
	flags.Uint64Var(&o.seed, "seed", o.seed, "seed of the order of measurements")
	flags.StringVar(&cases, "cases", cases, "comma `list` of cases (all)")
	flags.StringVar(&contestants, "contestants", contestants, "comma `list` of contestants")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q: want only flags", flags.Arg(0))
	}
	if o.rounds < 1 || o.rounds > 100 {
		return o, fmt.Errorf("%d rounds: want 1 to 100", o.rounds)
	}
	if max(o.rows, o.soak, o.expire) > 10_000_000 || min(o.rows, o.soak, o.expire) < 0 {
		return o, fmt.Errorf("%d rows, %d messages, %d old rows: want 0 to 10000000", o.rows, o.soak, o.expire)
	}
	if o.messages < 100 || o.messages > 1_000_000 {
		return o, fmt.Errorf("%d messages: want 100 to 1000000", o.messages)
	}
	if o.budget == 0 {
		o.budget = time.Duration(o.rounds) * 5 * time.Minute
	}
	var err error
	if o.cases, err = choose("case", cases, workloadNames()); err != nil {
		return o, err
	}
	o.contestants, err = choose("contestant", contestants, append(contestantNames(), names(fieldContestants())...))
	return o, err
}

// choose returns the names in a comma list, or all.
func choose(what, list string, all []string) ([]string, error) {
	if list == "" {
		return all, nil
	}
	chosen := strings.Split(list, ",")
	for _, name := range chosen {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("%s %q: want %s", what, name, strings.Join(all, ", "))
		}
	}
	return chosen, nil
}

// run starts the contestants, measures them, and prints the report to out and its progress
// to log. Before it returns it ends all processes and removes all files.
func run(ctx context.Context, o options, out, log io.Writer) (err error) {
	began := time.Now()
	if err := needPostfix(); err != nil {
		return err
	}
	h, err := newHarness(log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	chosen := named(o.contestants)
	switch o.mode {
	case scaling:
		chosen = withLoops(chosen, loopCounts(runtime.NumCPU()))
	case service:
		chosen = serviceContestants()
	}
	servers, skipped, err := startAll(ctx, h, chosen)
	if err != nil {
		return err
	}
	if len(servers) == 0 {
		return fmt.Errorf("no contestant can run: %v", skipped)
	}
	report, err := runRounds(ctx, h, o, servers, began)
	if err != nil {
		return err
	}
	report.Skipped = skipped
	report.describe(ctx, h.dir, servers)
	if err := report.print(out); err != nil {
		return err
	}
	return report.write(o.out)
}
