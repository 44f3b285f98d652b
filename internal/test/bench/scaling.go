package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// BENCH=scaling measures stores with a growing number of loops of the daemon.
const (
	maxLoops         = 16
	scalingTime      = 1500 * time.Millisecond // about the duration of one measurement
	sessionsOfClient = 50                      // a client with more sessions needs more CPU for each message
)

// loopCounts returns the numbers of loops to measure: powers of two, at most one loop for
// each CPU. The daemon starts one loop for two CPUs.
func loopCounts(cpus int) (counts []int) {
	for n := 1; n <= min(max(cpus, 1), maxLoops); n *= 2 {
		counts = append(counts, n)
	}
	return counts
}

// clientProcesses returns the number of client processes. One process of smtp-source uses
// one CPU, so half of the CPUs can be busy with clients.
func clientProcesses(cpus int) int { return max(1, cpus/2) }

// withLoops returns each contestant once for each number of loops.
func withLoops(stores []contestant, counts []int) (all []contestant) {
	for _, c := range stores {
		for _, n := range counts {
			variant := c
			variant.name = fmt.Sprintf("%s, loops=%d", c.name, n)
			variant.start = func(ctx context.Context, h *harness) *server {
				h.daemonEnv = []string{fmt.Sprintf("GOMAXPROCS=%d", 2*n+1)}
				defer func() { h.daemonEnv = nil }()
				s := c.start(ctx, h)
				s.loops = n
				return s
			}
			all = append(all, variant)
		}
	}
	return all
}

// spreadOver lets several client processes share the work.
func (w workload) spreadOver(processes int) workload {
	w.Clients = processes
	w.Sessions = sessionsOfClient * processes
	return w
}

// lasting returns the workload with as many messages as a server receives in scalingTime at
// the given rate; each client process sends the same number.
func (w workload) lasting(rate float64) workload {
	each := int(rate*scalingTime.Seconds()) / w.Clients
	w.Messages = max(each, 2*sessionsOfClient) * w.Clients
	return w
}

// scalingTables returns the cases and the results of BENCH=scaling.
func (r *report) scalingTables() string {
	var b strings.Builder
	for _, c := range r.Cases {
		fmt.Fprintf(&b, "case %s: %s; %d sessions of %d client processes\n", c.Name, c.Title, c.Sessions, c.Clients)
	}
	rows := [][]string{{"contestant", "case", "loops", "msgs/s", "x 1 loop", "server CPU", "client CPU", "CPUs busy", "samples"}}
	one := make(map[key]float64) // rates with one loop
	for _, result := range r.Results {
		name, _, _ := strings.Cut(result.Contestant, ", ")
		k := key{result.Case, name}
		if result.Loops == 1 {
			one[k] = result.Rate.Median
		}
		rows = append(rows, []string{
			name, result.Case, fmt.Sprint(result.Loops), result.Rate.String(), orDash(ratio(result.Rate.Median, one[k]), "%.2f"),
			result.ServerCPU.String(), fmt.Sprintf("%.0f", result.ClientCPU), fmt.Sprintf("%.1f of %d", result.Busy*float64(r.CPUs), r.CPUs), result.sampleCount(),
		})
	}
	fmt.Fprintf(&b, "\n%s\n", align(rows))
	fmt.Fprintf(&b, "Medians of %d rounds in random order (seed %d), %s in all, with the least and the greatest value in parentheses.\n",
		r.Rounds, r.Seed, r.duration())
	b.WriteString("n loops: the daemon with GOMAXPROCS=2n+1. x 1 loop: the rate divided by that with one loop in the same rounds. CPU is in µs per\n" +
		"message, with that of a database. CPUs busy: those of the machine, with the clients, during a measurement. If all of them are\n" +
		"busy, more loops cannot receive more messages.\n")
	return b.String()
}
