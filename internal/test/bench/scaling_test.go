package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"goguerrillad/internal/test"
)

func TestLoopCounts(t *testing.T) {
	for _, test := range []struct {
		cpus, clients int
		want          []int
	}{
		{1, 1, []int{1}},
		{2, 1, []int{1, 2}},
		{6, 3, []int{1, 2, 4}},
		{16, 8, []int{1, 2, 4, 8, 16}},
		{96, 48, []int{1, 2, 4, 8, 16}},
	} {
		if got := loopCounts(test.cpus); !slices.Equal(got, test.want) {
			t.Errorf("%d CPUs: %d loops, want %d", test.cpus, got, test.want)
		}
		if got := clientProcesses(test.cpus); got != test.clients {
			t.Errorf("%d CPUs: %d client processes, want %d", test.cpus, got, test.clients)
		}
	}
}

// TestLasting checks that each client process sends the same number of messages, and that
// fast servers receive more of them.
func TestLasting(t *testing.T) {
	w := workloads(5000)[0].spreadOver(3)
	if w.Sessions != 150 || w.lasting(6000).Messages != 9000 || w.lasting(6001).Messages != 9000 || w.lasting(1).Messages != 300 {
		t.Errorf("%d sessions; %d, %d and %d messages", w.Sessions, w.lasting(6000).Messages, w.lasting(6001).Messages, w.lasting(1).Messages)
	}
}

func TestScalingTable(t *testing.T) {
	r := &report{Mode: scaling, CPUs: 8, Rounds: 3, Seconds: 300, Cases: []workload{workloads(5000)[0].spreadOver(4)}}
	for _, v := range []struct {
		loops int
		rate  float64
		busy  float64
	}{{1, 1000, 0.25}, {2, 1500, 0.5}} {
		r.Results = append(r.Results, result{Case: "A", Contestant: fmt.Sprintf("store, loops=%d", v.loops), Loops: v.loops, Rate: spread{v.rate, v.rate - 10, v.rate + 10},
			ServerCPU: spread{150, 140, 160}, ClientCPU: 80, Busy: v.busy, Samples: make([]sample, 3)})
	}
	var b strings.Builder
	if err := r.print(&b); err != nil {
		t.Fatal(err)
	}
	const want = `case A: 5 KB, one connection each; 200 sessions of 4 client processes

| contestant | case | loops | msgs/s              | x 1 loop | server CPU       | client CPU | CPUs busy | samples |
|------------|------|-------|---------------------|----------|------------------|------------|-----------|---------|
| store      | A    | 1     | 1000 (990 to 1010)  | 1.00     | 150 (140 to 160) | 80         | 2.0 of 8  | 3       |
| store      | A    | 2     | 1500 (1490 to 1510) | 1.50     | 150 (140 to 160) | 80         | 4.0 of 8  | 3       |

Medians of 3 rounds in random order (seed 0), 5m0s in all`
	if !strings.HasPrefix(b.String(), want) {
		t.Errorf("got\n%s\nwant\n%s", &b, want)
	}
}

// TestScaling runs a small benchmark of two numbers of loops with two client processes.
func TestScaling(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real servers")
	}
	test.Need(t, "smtp-source")
	h, err := newHarness(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	var running []*server
	failed := h.try(func() {
		running, _, err = startAll(t.Context(), h, withLoops(named([]string{"goguerrillad-sqlite"}), []int{1, 2}))
	})
	if failed != nil || err != nil {
		t.Fatal(failed, err)
	}
	for i, s := range running {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", s.pids[0]))
		if want := fmt.Sprintf("GOMAXPROCS=%d\x00", 2*(i+1)+1); err != nil || !strings.Contains(string(environ), want) || s.loops != i+1 {
			t.Errorf("%s: %d loops, environment %q, %v, want %q", s.name, s.loops, environ, err, want)
		}
	}
	client, err := test.LookPath("smtp-source")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{client: client, log: t.Logf}
	loads := workloads(200)
	for _, w := range []workload{loads[0], loads[4]} { // with smtp-source, and with TLS
		// measure compares the number of messages with the number of rows.
		w := w.spreadOver(2)
		w.Messages = 200
		if w.plan != nil {
			o, cpu, err := w.send(t.Context(), client, running[0])
			if err != nil || o.Messages != 200 || len(o.Waits) != 200 || !slices.IsSorted(o.Waits) || o.Wall <= 0 || cpu <= 0 {
				t.Errorf("case %s: %d messages, %d waits, wall %v, CPU %v, %v", w.Name, o.Messages, len(o.Waits), o.Wall, cpu, err)
			}
		}
		got, err := b.measure(t.Context(), w, running[1])
		if err != nil || got.Busy <= 0 || got.Busy > 1 {
			t.Errorf("case %s: %+v, %v", w.Name, got, err)
		}
	}
	broken := &server{addr: "127.0.0.1:1"}
	if _, _, err := loads[0].spreadOver(2).send(t.Context(), client, broken); err == nil {
		t.Error("two clients of a closed port: no error")
	}
}
