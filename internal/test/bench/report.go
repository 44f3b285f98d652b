package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
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
	Machine  []setting  `json:"machine"`
	Versions []setting  `json:"versions"`
	Settings []setting  `json:"settings"`
	Skipped  []setting  `json:"skipped"`
	Cases    []workload `json:"cases"`
	Results  []result   `json:"results"`
	Probes   []probe    `json:"probes"`
}

// A result is one contestant in one case. A ratio is 0 if the case has no result of the
// other contestant.
type result struct {
	Case       string   `json:"case"`
	Contestant string   `json:"contestant"`
	Durable    string   `json:"durable"` // what is durable when it replies 250
	Rate       float64  `json:"rate"`    // messages per second, median of the rounds
	Slowest    float64  `json:"slowest"`
	Fastest    float64  `json:"fastest"`
	Reference  float64  `json:"reference"`  // rate of the reference in the same rounds, median
	Ratio      float64  `json:"ratio"`      // of Rate to Reference
	GoRatio    float64  `json:"go_ratio"`   // of Rate to the rate of go-smtp
	ServerCPU  float64  `json:"server_cpu"` // seconds per 1,000 messages, median
	CPURatio   float64  `json:"cpu_ratio"`  // of ServerCPU to that of the reference
	ClientCPU  float64  `json:"client_cpu"` // seconds per 1,000 messages, median
	Foreign    float64  `json:"foreign"`    // share of the machine that other processes used, median
	Median     float64  `json:"median"`     // milliseconds from the final dot to the 250, median; 0 with smtp-source
	Slow       float64  `json:"slow"`       // 99th percentile of these times
	Disturbed  int      `json:"spoilt"`     // samples kept although Foreign was over 10 %
	PeakRSS    int64    `json:"peak_rss"`   // bytes, over all cases so far; shared pages count in each process
	Samples    []sample `json:"samples"`
}

// newReport computes the results in the order of the cases, then of the contestants.
func newReport(o options, began time.Time, rounds int, b *bench, loads []workload) *report {
	r := &report{
		Began: began, Seconds: time.Since(began).Seconds(), Seed: o.seed,
		Rounds: rounds, Repeated: b.repeated, Cases: loads,
	}
	for _, w := range loads {
		base := summary(b.samples[key{w.Name, w.base}])
		goBase := summary(b.samples[key{w.Name, goReference}])
		for _, s := range b.servers {
			if w.able&s.able == 0 {
				continue
			}
			got := summary(b.samples[key{w.Name, s.name}])
			got.Case, got.Contestant, got.Durable = w.Name, s.name, s.durable
			got.Reference = base.Rate
			got.Ratio = ratio(got.Rate, base.Rate)
			got.GoRatio = ratio(got.Rate, goBase.Rate)
			got.CPURatio = ratio(got.ServerCPU, base.ServerCPU)
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
	rates := column(func(s sample) float64 { return s.Rate })
	r := result{
		Samples:   samples,
		Rate:      median(rates),
		ServerCPU: median(column(func(s sample) float64 { return s.ServerCPU })),
		ClientCPU: median(column(func(s sample) float64 { return s.ClientCPU })),
		Foreign:   median(column(func(s sample) float64 { return s.Foreign })),
		Median:    median(column(func(s sample) float64 { return s.Median })),
		Slow:      median(column(func(s sample) float64 { return s.Slow })),
	}
	if len(rates) > 0 {
		r.Slowest, r.Fastest = slices.Min(rates), slices.Max(rates)
	}
	for _, s := range samples {
		if s.disturbed() {
			r.Disturbed++
		}
	}
	return r
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
		r.Versions = append(r.Versions, setting{s.name, s.version})
		r.Settings = append(r.Settings, s.settings...)
	}
}
