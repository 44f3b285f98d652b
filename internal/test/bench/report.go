package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A report has all results; it is the content of the JSON file.
type report struct {
	Began    time.Time  `json:"began"`
	Seconds  float64    `json:"seconds"` // of the whole run
	Seed     uint64     `json:"seed"`
	Rounds   int        `json:"rounds"`
	Repeated int        `json:"repeated"` // measurements discarded because other processes used over 10 %
	Mode     string     `json:"mode"`     // BENCH
	CPUs     int        `json:"cpus"`
	Machine  []setting  `json:"machine"`
	Versions []setting  `json:"versions"`
	Settings []setting  `json:"settings"`
	Skipped  []setting  `json:"skipped"`
	Cases    []workload `json:"cases"`
	Results  []result   `json:"results"`
	Probes   []probe    `json:"probes"`
}

// A result is one contestant in one case. A ratio is 0, and a difference is nil, if the case
// has no result of the other contestant. CPU is in microseconds per message.
type result struct {
	Case       string  `json:"case"`
	Contestant string  `json:"contestant"`
	Loops      int     `json:"loops,omitempty"` // of the daemon, with BENCH=scaling
	Durable    string  `json:"durable"`         // what is durable when it replies 250
	Rate       spread  `json:"rate"`            // messages per second
	Reference  float64 `json:"reference"`
	Ratio      float64 `json:"ratio"`         // of Rate to Reference, the rate of the reference in the same rounds
	GoRatio    float64 `json:"go_ratio"`      // of Rate to the rate of go-smtp
	OfDiscard  float64 `json:"discard_ratio"` // of Rate to the rate of discard; only goguerrillad

	ServerCPU       spread  `json:"server_cpu"`
	CPURatio        float64 `json:"cpu_ratio"`                  // of ServerCPU to that of the reference
	BeyondDiscard   *spread `json:"beyond_discard,omitempty"`   // ServerCPU minus that of discard; only goguerrillad
	BeyondHandshake *spread `json:"beyond_handshake,omitempty"` // ServerCPU minus that of bare TLS
	ClientCPU       float64 `json:"client_cpu"`
	Journald        float64 `json:"journald"` // part of ServerCPU, with BENCH=service

	Foreign   float64  `json:"foreign"`  // share of the machine that other processes used, median
	Busy      float64  `json:"busy"`     // share of the machine that all processes used, median
	Median    float64  `json:"median"`   // milliseconds from the final dot to the 250, median; 0 with smtp-source
	Slow      float64  `json:"slow"`     // 99th percentile of these times
	Disturbed int      `json:"spoilt"`   // samples kept although Foreign was over 10 %
	PeakRSS   int64    `json:"peak_rss"` // bytes, over all cases so far; shared pages count in each process
	Samples   []sample `json:"samples"`
}

// A spread is the median, the least and the greatest of the values of the rounds.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// newReport computes the results in the order of the cases, then of the contestants.
func newReport(o options, began time.Time, rounds int, b *bench, loads []workload) *report {
	r := &report{
		Began: began, Seconds: time.Since(began).Seconds(), Seed: o.seed,
		Rounds: rounds, Repeated: b.repeated, Cases: loads, Mode: o.mode, CPUs: runtime.NumCPU(),
	}
	for _, w := range loads {
		of := func(contestant string) []sample { return b.samples[key{w.Name, contestant}] }
		base, goBase, ownBase := summary(of(w.base)), summary(of(goReference)), summary(of(discard))
		for _, s := range b.servers {
			if w.able&s.able == 0 {
				continue
			}
			got := summary(of(s.name))
			got.Case, got.Contestant, got.Loops, got.Durable = w.Name, s.name, s.loops, s.durable
			got.Reference = base.Rate.Median
			got.Ratio = ratio(got.Rate.Median, base.Rate.Median)
			got.GoRatio = ratio(got.Rate.Median, goBase.Rate.Median)
			got.CPURatio = ratio(got.ServerCPU.Median, base.ServerCPU.Median)
			if strings.HasPrefix(s.name, "goguerrillad") {
				got.OfDiscard = ratio(got.Rate.Median, ownBase.Rate.Median)
				if s.name != discard {
					got.BeyondDiscard = beyond(of(s.name), of(discard))
				}
			}
			if w.base == tlsReference && s.name != tlsReference {
				got.BeyondHandshake = beyond(of(s.name), of(tlsReference))
			}
			got.PeakRSS, _ = peakRSS(s.processes())
			r.Results = append(r.Results, got)
		}
	}
	return r
}

// summary computes the medians of samples.
func summary(samples []sample) result {
	column := func(f func(sample) float64) []float64 {
		var values []float64
		for _, s := range samples {
			values = append(values, f(s))
		}
		return values
	}
	r := result{
		Samples:   samples,
		Rate:      spreadOf(column(func(s sample) float64 { return s.Rate })),
		ServerCPU: spreadOf(column(func(s sample) float64 { return s.ServerCPU })),
		Journald:  median(column(func(s sample) float64 { return s.Journald })),
		ClientCPU: median(column(func(s sample) float64 { return s.ClientCPU })),
		Foreign:   median(column(func(s sample) float64 { return s.Foreign })),
		Busy:      median(column(func(s sample) float64 { return s.Busy })),
		Median:    median(column(func(s sample) float64 { return s.Median })),
		Slow:      median(column(func(s sample) float64 { return s.Slow })),
	}
	for _, s := range samples {
		if s.disturbed() {
			r.Disturbed++
		}
	}
	return r
}

// spreadOf returns the spread of values, zero without values.
func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	return spread{median(values), slices.Min(values), slices.Max(values)}
}

// beyond returns the differences between the server CPU of two contestants, each in the same
// round, nil if base is not measured.
func beyond(samples, base []sample) *spread {
	if len(samples) == 0 || len(samples) != len(base) {
		return nil
	}
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = s.ServerCPU - base[i].ServerCPU
	}
	got := spreadOf(values)
	return &got
}

// median returns the middle value, or the mean of the two middle values. It returns 0
// without values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// write writes the files of a report: text, JSON, and a chart.
func (r *report) write(path string) error {
	if path == "" {
		return nil
	}
	var text strings.Builder
	if err := r.print(&text); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	for suffix, content := range map[string]string{".txt": text.String(), ".json": string(data) + "\n", ".svg": r.chart()} {
		if err := os.WriteFile(path+suffix, []byte(content), 0o644); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return nil
}

// describe adds the machine, the versions and the settings.
func (r *report) describe(ctx context.Context, dir string, servers []*server) {
	r.Machine = machine(dir)
	r.Versions = []setting{{"Go", goVersion()}, {"source", sourceVersion(ctx)}}
	for _, s := range servers {
		if s.loops > 1 { // as with one loop
			continue
		}
		r.Versions = append(r.Versions, setting{s.name, s.version})
		r.Settings = append(r.Settings, s.settings...)
	}
}
