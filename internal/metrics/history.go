package metrics

import (
	"math"
	"slices"
	"time"
)

// sampleTime is the time between two samples. A point of the day contains perDayPoint
// samples.
const (
	sampleTime   = 5 * time.Second
	recentPoints = 120 // 10 minutes
	perDayPoint  = 60  // 5 minutes
	dayPoints    = 288 // 24 hours
)

// A sample holds totals since the start, and the current state.
type sample struct {
	at               time.Time
	messages         uint64
	replies          [6]uint64 // by the first digit of the code
	latency          durations
	sessions, memory int64
	unhealthy        bool
}

// A series is an index of point.values.
type series int

const (
	messages  series = iota // per second
	median                  // seconds
	slowest                 // seconds, the quantile 0.99
	positive                // replies 2xx per second
	temporary               // replies 4xx per second
	permanent               // replies 5xx per second
	sessions                // the most of the interval
	memory                  // bytes, the most of the interval
	allSeries
)

// A point holds the values of the interval that ends at a time. A quantile without
// messages is NaN.
type point struct {
	at        time.Time
	values    [allSeries]float64
	unhealthy bool // at a sample of the interval
}

// A ring holds the points of the last intervals. Its memory does not grow.
type ring struct {
	interval int // samples
	points   []point
	next     int    // index of the oldest point
	last     sample // at the end of the last interval

	// Of the current interval:
	samples          int
	sessions, memory int64
	unhealthy        bool
}

func newRing(points, interval int, start time.Time) *ring {
	return &ring{interval: interval, points: make([]point, points), last: sample{at: start}}
}

// add adds a sample, which may end an interval.
func (r *ring) add(s sample) {
	r.sessions, r.memory = max(r.sessions, s.sessions), max(r.memory, s.memory)
	r.unhealthy = r.unhealthy || s.unhealthy
	if r.samples++; r.samples < r.interval {
		return
	}
	took := s.at.Sub(r.last.at).Seconds()
	perSecond := func(now, before uint64) float64 { return float64(now-before) / took }
	latency := s.latency.since(r.last.latency)
	r.points[r.next] = point{at: s.at, unhealthy: r.unhealthy, values: [allSeries]float64{
		messages:  perSecond(s.messages, r.last.messages),
		median:    latency.quantile(0.5),
		slowest:   latency.quantile(0.99),
		positive:  perSecond(s.replies[2], r.last.replies[2]),
		temporary: perSecond(s.replies[4], r.last.replies[4]),
		permanent: perSecond(s.replies[5], r.last.replies[5]),
		sessions:  float64(r.sessions),
		memory:    float64(r.memory),
	}}
	r.next = (r.next + 1) % len(r.points)
	r.last, r.samples, r.sessions, r.memory, r.unhealthy = s, 0, 0, 0, false
}

// list returns the points, oldest first.
func (r *ring) list() []point {
	all := slices.Concat(r.points[r.next:], r.points[:r.next])
	return slices.DeleteFunc(all, func(p point) bool { return p.at.IsZero() })
}

// latest returns the last point. Without points, the quantiles are NaN.
func (r *ring) latest() point {
	if p := r.points[(r.next+len(r.points)-1)%len(r.points)]; !p.at.IsZero() {
		return p
	}
	return point{values: [allSeries]float64{median: math.NaN(), slowest: math.NaN()}}
}

// A history holds the points of the last 10 minutes and of the last day.
type history struct{ recent, day *ring }

func newHistory(start time.Time) history {
	return history{newRing(recentPoints, 1, start), newRing(dayPoints, perDayPoint, start)}
}

// keepHistory adds to the history until Close is called.
func (m *Server) keepHistory() {
	tick := time.NewTicker(sampleTime)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s := m.sample()
			m.mu.Lock()
			m.history.recent.add(s)
			m.history.day.add(s)
			m.mu.Unlock()
		case <-m.stop:
			return
		}
	}
}

// sample returns the current totals.
func (m *Server) sample() sample {
	server := m.sources.Server()
	s := sample{
		at: time.Now(), messages: m.sources.Committer().Messages, latency: m.latency.total(),
		sessions: server.Sessions, memory: server.Memory, unhealthy: m.condition().Reason != "",
	}
	for code := range m.replies {
		s.replies[code/100] += m.replies[code].Load()
	}
	return s
}
