package metrics

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The bounds of the buckets grow by the factor 2^(1/4), from 62.5 µs to 65.5 s, so that
// the error of a quantile is at most 19 %.
const (
	firstBound   = 0.0000625 // seconds
	perDoubling  = 4
	bounds       = 20*perDoubling + 1
	firstShown   = 3 * perDoubling // the first bound in /metrics: 0.5 ms
	latencySlots = bounds + 1      // the last one has no bound
)

// A latency is a histogram of durations.
type latency struct {
	counts [latencySlots]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

// durations are the observations of a latency in each bucket.
type durations [latencySlots]uint64

// bound returns the upper bound of a bucket in seconds.
func bound(i int) float64 { return firstBound * math.Exp2(float64(i)/perDoubling) }

func (l *latency) observe(took time.Duration) {
	i := math.Ceil(perDoubling * math.Log2(max(took.Seconds()/firstBound, 1)))
	l.counts[int(min(i, bounds))].Add(1)
	l.sum.Add(int64(took))
}

func (l *latency) total() (d durations) {
	for i := range d {
		d[i] = l.counts[i].Load()
	}
	return d
}

// since returns the observations that are in d and not in the earlier total.
func (d durations) since(earlier durations) durations {
	for i := range d {
		d[i] -= earlier[i]
	}
	return d
}

// quantile returns the duration in seconds that the share q of the observations does not
// exceed, NaN without observations.
func (d durations) quantile(q float64) float64 {
	var n, below uint64
	for _, count := range d {
		n += count
	}
	rank := max(uint64(math.Ceil(q*float64(n))), 1)
	for i, count := range d {
		if below+count >= rank { // the observations are evenly distributed in the bucket
			part := (float64(rank-below) - 0.5) / float64(count)
			return bound(i-1) * math.Exp2(part/perDoubling)
		}
		below += count
	}
	return math.NaN()
}

// metric returns the histogram for Prometheus.
func (l *latency) metric(name, help string) prometheus.Metric {
	buckets := map[float64]uint64{}
	var n uint64
	for i, count := range l.total() {
		n += count
		if i >= firstShown && i < bounds && i%perDoubling == 0 {
			buckets[bound(i)] = n
		}
	}
	sum := time.Duration(l.sum.Load()).Seconds()
	return prometheus.MustNewConstHistogram(prometheus.NewDesc(name, help, nil, nil), n, sum, buckets)
}
