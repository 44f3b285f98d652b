package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"goguerrillad/internal/test"
)

const (
	// foreignLimit is the share of the machine above which other processes disturb a
	// measurement.
	foreignLimit = 0.10
	// maxTries bounds the attempts of one measurement; then a disturbed sample is kept.
	maxTries = 3
)

// A sample is the result of one measurement.
type sample struct {
	Rate      float64 `json:"rate"`       // messages per second
	ServerCPU float64 `json:"server_cpu"` // microseconds per message, with those of a database
	Journald  float64 `json:"journald"`   // the part of ServerCPU that journald used, with BENCH=service
	ClientCPU float64 `json:"client_cpu"` // microseconds per message
	Foreign   float64 `json:"foreign"`    // share of the machine that other processes used, 0 to 1
	Busy      float64 `json:"busy"`       // share of the machine that all processes used, 0 to 1
	// Time from the final dot to the 250, in milliseconds. It is 0 with smtp-source, which
	// does not measure it.
	Median float64 `json:"median"`
	Slow   float64 `json:"slow"` // 99th percentile
}

func (s sample) disturbed() bool { return s.Foreign > foreignLimit }

// key identifies the samples of a contestant in a case.
type key struct{ workload, contestant string }

// A bench is a running measurement.
type bench struct {
	client          string // smtp-source
	servers         []*server
	samples         map[key][]sample // one per round, in order
	repeated        int              // disturbed measurements that were repeated
	repetitionsLeft int              // number of measurements that may still be repeated
	scaling         bool             // the messages of a measurement depend on the rate
	rates           map[key]float64  // of the first measurement
	holds           int              // number of calls of hold so far
	log             func(format string, args ...any)
}

// runRounds runs the rounds and the probes. It omits the last rounds if they would end
// later than the budget after began.
func runRounds(ctx context.Context, h *harness, o options, servers []*server, began time.Time) (*report, error) {
	client, err := test.LookPath("smtp-source")
	if err != nil {
		return nil, err
	}
	var loads []workload
	for _, w := range workloads(o.messages) {
		if !slices.Contains(o.cases, w.Name) {
			continue
		}
		if o.mode == scaling {
			w = w.spreadOver(clientProcesses(runtime.NumCPU()))
		}
		loads = append(loads, w)
	}
	b := &bench{
		client: client, servers: servers, samples: make(map[key][]sample), log: h.Logf, scaling: o.mode == scaling, rates: make(map[key]float64),
		repetitionsLeft: o.rounds * len(loads) * len(servers) / 2,
	}
	if err := b.warm(ctx, loads); err != nil {
		return nil, err
	}
	order := rand.New(rand.NewPCG(o.seed, 0))
	rounds := 0
	for ; rounds < o.rounds; rounds++ {
		start := time.Now()
		if err := b.round(ctx, rounds+1, loads, order); err != nil {
			return nil, err
		}
		if rounds+1 < o.rounds && time.Since(began)+time.Since(start) > o.budget {
			h.Logf("no time for another round")
			rounds++
			break
		}
	}
	report := newReport(o, began, rounds, b, loads)
	if o.probes {
		var err error
		if report.Probes, err = b.probes(ctx, o); err != nil {
			return nil, err
		}
	}
	return report, nil
}

// warm sends a few messages to each server in each case, so that the first measurement does
// not include the cost of new buffers, files and prepared statements.
func (b *bench) warm(ctx context.Context, loads []workload) error {
	for _, s := range b.servers {
		for _, w := range loads {
			w = w.reduced(s)
			w.Messages = min(w.Messages, 2*w.Sessions)
			if b.scaling { // the rate of a few messages is too low
				w.Messages = 10 * w.Sessions
			}
			if w.able&s.able == 0 {
				continue
			}
			got, err := b.measure(ctx, w, s)
			if err != nil {
				return fmt.Errorf("warm up: %w", err)
			}
			b.rates[key{w.Name, s.name}] = got.Rate
		}
	}
	return nil
}

// round measures each server once in each case, in random order.
func (b *bench) round(ctx context.Context, n int, loads []workload, order *rand.Rand) error {
	for _, w := range loads {
		for _, i := range order.Perm(len(b.servers)) {
			s := b.servers[i]
			if w.able&s.able == 0 {
				continue
			}
			k, load := key{w.Name, s.name}, w.reduced(s)
			if b.scaling {
				load = w.lasting(b.rates[k])
			}
			sample, err := b.measureUndisturbed(ctx, load, s)
			if err != nil {
				return err
			}
			b.log("round %d, case %s, %s: %.0f/s, other processes %.0f %%", n, w.Name, s.name, sample.Rate, 100*sample.Foreign)
			b.samples[k] = append(b.samples[k], sample)
		}
	}
	return nil
}

// measureUndisturbed measures one server, and repeats a disturbed measurement a few times.
// It returns the least disturbed sample.
func (b *bench) measureUndisturbed(ctx context.Context, w workload, s *server) (sample, error) {
	best, err := b.measure(ctx, w, s)
	for try := 1; err == nil && best.disturbed() && try < maxTries && b.repetitionsLeft > 0; try++ {
		b.repeated++
		b.repetitionsLeft--
		b.log("case %s, %s: repeated, other processes used %.0f %%", w.Name, s.name, 100*best.Foreign)
		var next sample
		if next, err = b.measure(ctx, w, s); next.Foreign < best.Foreign {
			best = next
		}
	}
	return best, err
}

// measure measures one server once. It returns an error if a message was refused, or
// acknowledged and not stored or logged exactly once, or if TLS sessions were not resumed as planned.
func (b *bench) measure(ctx context.Context, w workload, s *server) (sample, error) {
	got, err := b.takeSample(ctx, w, s)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("case %s, %s: %w\n%s", w.Name, s.name, err, tail(s.output()))
	}
	return got, err
}

func (b *bench) takeSample(ctx context.Context, w workload, s *server) (sample, error) {
	rowsBefore, entriesBefore, err := s.count(ctx)
	if err != nil {
		return sample{}, err
	}
	idle, err := awaitIdle(s.cpu)
	if err != nil {
		return sample{}, err
	}
	journaldIdle, err := s.journaldCPU()
	if err != nil {
		return sample{}, err
	}
	before, err := readCPU(s.cpu)
	if err != nil {
		return sample{}, err
	}
	o, client, err := w.send(ctx, b.client, s)
	if err != nil {
		return sample{}, err
	}
	after, err := readCPU(s.cpu)
	if err != nil {
		return sample{}, err
	}
	if err := s.awaitDelivered(ctx); err != nil {
		return sample{}, err
	}
	end, err := awaitIdle(s.cpu)
	if err != nil {
		return sample{}, err
	}
	journaldEnd, err := s.journaldCPU()
	if err != nil {
		return sample{}, err
	}
	rowsAfter, entriesAfter, err := s.count(ctx)
	if err != nil {
		return sample{}, err
	}
	if logged := entriesAfter - entriesBefore; s.entries != nil && logged != o.Messages {
		return sample{}, fmt.Errorf("%d messages were acknowledged, %d entries are in the log", o.Messages, logged)
	}
	if stored := rowsAfter - rowsBefore; s.rows != nil && stored != o.Rows {
		return sample{}, fmt.Errorf("messages were acknowledged for %d recipients, %d rows are in the store", o.Rows, stored)
	}
	if w.plan != nil && w.plan.Resume && o.Resumed < (w.Messages-w.Sessions)/2 {
		return sample{}, fmt.Errorf("%d of %d TLS sessions were resumed", o.Resumed, w.Messages)
	}
	perMessage := 1e6 / float64(w.Messages)
	return sample{
		Rate:      float64(w.Messages) / o.Wall.Seconds(),
		ServerCPU: (end - idle).Seconds() * perMessage,
		Journald:  (journaldEnd - journaldIdle).Seconds() * perMessage,
		ClientCPU: client.Seconds() * perMessage,
		Foreign:   foreign(before, after, client, o.Wall, runtime.NumCPU()),
		Busy:      min((after.machine-before.machine).Seconds()/(o.Wall.Seconds()*float64(runtime.NumCPU())), 1),
		Median:    milliseconds(o.wait(0.5)),
		Slow:      milliseconds(o.wait(0.99)),
	}, nil
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// count returns the number of rows in the store and of entries in the log, each 0 if it is
// not counted.
func (s *server) count(ctx context.Context) (rows, entries int, err error) {
	if s.rows != nil {
		rows, err = s.rows(ctx)
	}
	if s.entries != nil && err == nil {
		entries, err = s.entries(ctx)
	}
	return rows, entries, err
}

// tail returns the end of a server's output.
func tail(text string) string {
	const most = 2000
	return text[max(0, len(text)-most):]
}
