package main

import (
	"encoding/xml"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{7}, 7},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{9, 1, 2, 4}, 3},
	} {
		if got := median(test.values); got != test.want {
			t.Errorf("median of %v: got %v, want %v", test.values, got, test.want)
		}
	}
}

// samplesOf returns one sample for each rate. Faster samples use less CPU.
func samplesOf(rates ...float64) []sample {
	var samples []sample
	for _, r := range rates {
		samples = append(samples, sample{Rate: r, ServerCPU: 1e5 / r, ClientCPU: 100, Foreign: 0.02})
	}
	return samples
}

// testReport has a sink and a store in case A, and only the store in case B. In A the store
// has half the rate of the sink, and one disturbed sample.
func testReport() *report {
	disturbed := samplesOf(400, 500, 900)
	disturbed[2].Foreign = 0.31
	sink := &server{contestant: contestant{name: reference, durable: "nothing", able: plain}, pids: []int{os.Getpid()}}
	store := &server{contestant: contestant{name: "store", durable: "all", able: plain}, pids: []int{os.Getpid()}}
	b := &bench{
		servers: []*server{sink, store},
		samples: map[key][]sample{
			{"A", reference}: samplesOf(1100, 900, 1000),
			{"A", "store"}:   disturbed,
			{"B", "store"}:   samplesOf(200, 100),
		},
		repeated: 4,
	}
	loads := []workload{workloads(5000)[0], workloads(5000)[1]}
	return newReport(options{seed: 7}, time.Now(), 3, b, loads)
}

func TestReport(t *testing.T) {
	r := testReport()
	if len(r.Results) != 4 {
		t.Fatalf("%d results, want 4", len(r.Results))
	}
	store := r.Results[1]
	if store.Case != "A" || store.Contestant != "store" || store.Rate != (spread{500, 400, 900}) ||
		store.Reference != 1000 || store.Ratio != 0.5 || store.CPURatio != 2 || store.GoRatio != 0 || store.Disturbed != 1 ||
		store.ServerCPU != (spread{200, 1e5 / 900., 250}) || store.OfDiscard != 0 || store.BeyondDiscard != nil || store.BeyondHandshake != nil {
		t.Errorf("case A: %+v", store)
	}
	if alone := r.Results[3]; alone.Rate.Median != 150 || alone.Ratio != 0 {
		t.Errorf("case B, without a sink: %+v", alone)
	}
	if got := r.disturbed(); got != 1 {
		t.Errorf("%d disturbed samples, want 1", got)
	}
}

// TestBeyond checks which contestants are compared with discard and with bare TLS, and that
// the differences are those of each round.
func TestBeyond(t *testing.T) {
	b := &bench{samples: map[key][]sample{}}
	for name, cpu := range map[string][]float64{
		tlsReference: {500, 700, 600}, goReference: {800, 900, 1000}, discard: {600, 900, 610}, "goguerrillad-sqlite": {1000, 1000, 1000},
	} {
		b.servers = append(b.servers, &server{contestant: contestant{name: name, able: secured}, pids: []int{os.Getpid()}})
		for _, c := range cpu {
			k := key{"E", name}
			b.samples[k] = append(b.samples[k], sample{Rate: 1e6 / c, ServerCPU: c})
		}
	}
	loads := workloads(5000)
	w := loads[slices.IndexFunc(loads, func(w workload) bool { return w.Name == "E" })]
	for _, r := range newReport(options{}, time.Now(), 3, b, []workload{w}).Results {
		want := map[string]struct {
			ratio         float64
			discard, bare string
		}{
			tlsReference:          {0, "-", "-"},
			goReference:           {0, "-", "300 (200 to 400)"},
			discard:               {1, "-", "100 (10 to 200)"},
			"goguerrillad-sqlite": {0.61, "390 (100 to 400)", "400 (300 to 500)"},
		}[r.Contestant]
		if math.Abs(r.OfDiscard-want.ratio) > 0.001 || r.BeyondDiscard.String() != want.discard || r.BeyondHandshake.String() != want.bare {
			t.Errorf("%s: %.3f of discard, CPU beyond discard %s, beyond bare TLS %s, want %v", r.Contestant, r.OfDiscard, r.BeyondDiscard, r.BeyondHandshake, want)
		}
	}
}

func TestTable(t *testing.T) {
	results := testReport().Results[:2]
	for i := range results {
		results[i].PeakRSS = 30 << 20
	}
	results[1].Median, results[1].Slow = 4, 9.5
	results[1].OfDiscard, results[1].BeyondDiscard, results[1].BeyondHandshake = 0.62, &spread{35, -2, 40}, &spread{120, 110, 125}
	const want = `
| contestant | durable at 250 | case | msgs/s             | x    | / discard | server CPU       | x    | beyond discard | beyond handshake | samples |
|------------|----------------|------|--------------------|------|-----------|------------------|------|----------------|------------------|---------|
| smtp-sink  | nothing        | A    | 1000 (900 to 1100) | 1.00 | -         | 100 (91 to 111)  | 1.00 | -              | -                | 3       |
| store      | all            | A    | 500 (400 to 900)   | 0.50 | 0.62      | 200 (111 to 250) | 2.00 | 35 (-2 to 40)  | 120 (110 to 125) | 3 (1!)  |
`
	if got := "\n" + table(results); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	const others = `
| contestant | case | reference | x go-smtp | client CPU | wait 50 % | 99 % | other CPU | peak RSS |
|------------|------|-----------|-----------|------------|-----------|------|-----------|----------|
| smtp-sink  | A    | 1000      | -         | 100        | -         | -    | 2 %       | 30 MiB   |
| store      | A    | 1000      | -         | 100        | 4.0       | 9.5  | 2 %       | 30 MiB   |
`
	if got := "\n" + details(results); got != others {
		t.Errorf("got %s\nwant %s", got, others)
	}
}

func TestServiceTable(t *testing.T) {
	r := &report{Mode: service, Rounds: 3, Cases: []workload{workloads(5000)[0]}}
	for i, c := range serviceContestants() {
		n := float64(i)
		r.Results = append(r.Results, result{Case: "A", Contestant: c.name, Rate: spread{2000 - 500*n, 1000, 3000},
			ServerCPU: spread{200 + 50*n, 190, 260}, Journald: 40 * n, Samples: make([]sample, 3)})
	}
	var b strings.Builder
	if err := r.print(&b); err != nil {
		t.Fatal(err)
	}
	const want = `
| contestant        | case | msgs/s              | x log file | server CPU       | of it journald | samples |
|-------------------|------|---------------------|------------|------------------|----------------|---------|
| service, log file | A    | 2000 (1000 to 3000) | 1.00       | 200 (190 to 260) | 0              | 3       |
| service, journal  | A    | 1500 (1000 to 3000) | 0.75       | 250 (190 to 260) | 40             | 3       |
`
	if !strings.Contains(b.String(), want) {
		t.Errorf("got\n%s\nwant\n%s", &b, want)
	}
}

func TestPrint(t *testing.T) {
	r := testReport()
	r.Settings = []setting{{"SQLite", "journal_mode=wal"}}
	r.Skipped = []setting{{"goguerrillad-mysql", "not installed"}}
	var b strings.Builder
	if err := r.print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"case A: 5 KB, one connection each; 5000 messages per measurement, 100 sessions; reference smtp-sink\n",
		"Medians of 3 rounds in random order (seed 7)",
		"machine: 4; kept nevertheless: 1 (marked !)",
		"\nSettings\n  SQLite: journal_mode=wal\n",
		"\nNot run\n  goguerrillad-mysql: not installed\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, &b)
		}
	}
	if strings.Contains(b.String(), "Machine") {
		t.Errorf("a title without lines in\n%s", &b)
	}
}

// TestChart checks that the chart is XML and that the lengths of the bars are to scale.
func TestChart(t *testing.T) {
	r := testReport()
	r.Cases[0].Title = "5 KB <&"
	chart := r.chart()
	if err := xml.Unmarshal([]byte(chart), new(struct{})); err != nil {
		t.Errorf("%v\n%s", err, chart)
	}
	for _, want := range []string{`width="420"`, `width="210"`, "1000/s, x 1.00, 100 µs", "500/s, x 0.50, 200 µs", "5 KB &lt;&amp;"} {
		if !strings.Contains(chart, want) {
			t.Errorf("%s is not in\n%s", want, chart)
		}
	}
}

func TestFileSystem(t *testing.T) {
	const mounts = "/dev/sda / ext4 rw,relatime 0 0\n" +
		"proc /proc proc rw 0 0\n" +
		"/dev/sdb /src xfs rw 0 0\n" +
		"tmpfs /src/build tmpfs rw,size=1g 0 0\n"
	for _, test := range []struct{ dir, want string }{
		{"/home/x", "ext4 (rw,relatime)"},
		{"/src", "xfs (rw)"},
		{"/srcs/y", "ext4 (rw,relatime)"},
		{"/src/build/bench", "tmpfs (rw,size=1g)"},
	} {
		if got := fileSystem(mounts, test.dir); got != test.want {
			t.Errorf("%s: got %q, want %q", test.dir, got, test.want)
		}
	}
}

func TestMachine(t *testing.T) {
	for _, s := range machine(t.TempDir()) {
		if s.Value == "" {
			t.Errorf("%s is empty", s.Name)
		}
	}
}
