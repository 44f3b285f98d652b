package metrics

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestQuantiles compares quantiles with the exact values.
func TestQuantiles(t *testing.T) {
	if q := (durations{}).quantile(0.5); !math.IsNaN(q) {
		t.Errorf("quantile without observations: %v, want NaN", q)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 10, 99, 100, 101, 5000} {
		var l latency
		l.observe(time.Hour)
		earlier := l.total()
		exact := make([]float64, n)
		for i := range exact {
			took := time.Duration(float64(time.Millisecond) * math.Exp(3*random.Float64()))
			exact[i] = took.Seconds()
			l.observe(took)
		}
		slices.Sort(exact)
		for _, q := range []float64{0, 0.5, 0.99, 1} {
			want := exact[max(int(math.Ceil(q*float64(n)))-1, 0)]
			if got := l.total().since(earlier).quantile(q); math.Abs(got/want-1) > 0.2 {
				t.Errorf("quantile %v of %d observations is %v, want %v", q, n, got, want)
			}
		}
	}
}

// TestBounds: each duration is in the bucket whose bounds enclose it.
func TestBounds(t *testing.T) {
	for took, want := range map[time.Duration]int{
		-time.Second: 0, 0: 0, 62500: 0, 62501: 1, 125 * time.Microsecond: 4, 125001: 5, time.Millisecond: 16,
		65536 * time.Millisecond: bounds - 1, 65537 * time.Millisecond: bounds, time.Hour: bounds,
	} {
		var l latency
		l.observe(took)
		total := l.total()
		if got := slices.Index(total[:], 1); got != want {
			t.Errorf("%v is in bucket %d, want %d", took, got, want)
		}
	}
}

// TestRing: a point has the rates, the quantiles and the most of its interval, and a ring
// keeps the last points only.
func TestRing(t *testing.T) {
	start := time.Unix(1e9, 0)
	r := newRing(3, 2, start)
	if p := r.latest(); len(r.list()) > 0 || !math.IsNaN(p.values[median]) || !math.IsNaN(p.values[slowest]) || p.values[messages] != 0 {
		t.Errorf("points %v, latest %v of an empty ring", r.list(), p)
	}
	at := func(i int) time.Time { return start.Add(time.Duration(i) * 5 * time.Second) }
	s := sample{at: at(1), sessions: 7, memory: 100, unhealthy: true}
	r.add(s)
	if len(r.list()) > 0 {
		t.Error("a point before the end of the interval")
	}
	var l latency
	l.observe(time.Millisecond)
	s = sample{at: at(2), messages: 20, replies: [6]uint64{2: 40, 3: 1, 4: 5, 5: 10}, latency: l.total(), sessions: 3, memory: 200}
	r.add(s)
	want := [allSeries]float64{messages: 2, positive: 4, temporary: 0.5, permanent: 1, sessions: 7, memory: 200}
	got := r.latest()
	for _, q := range []series{median, slowest} {
		if v := got.values[q]; math.Abs(v/0.001-1) > 0.1 {
			t.Errorf("the quantile is %v, want 0.001", v)
		}
		got.values[q] = 0
	}
	if got.values != want || !got.unhealthy || !got.at.Equal(at(2)) {
		t.Errorf("point %v, want %v, unhealthy", got, want)
	}
	for i := 3; i <= 9; i++ { // ends three intervals
		s.at, s.messages = at(i), s.messages+uint64(i)
		s.replies[2], s.replies[4], s.replies[5] = s.replies[2]+5, s.replies[4]+10, s.replies[5]+15
		r.add(s)
	}
	points := r.list()
	if len(points) != 3 || !points[0].at.Equal(at(4)) || !points[2].at.Equal(at(8)) {
		t.Fatalf("points %v, want those that end at 4, 6 and 8", points)
	}
	for i, p := range points {
		if want := float64(7+4*i) / 10; p.values[messages] != want || p.values[positive] != 1 || p.values[temporary] != 2 || p.values[permanent] != 3 || p.unhealthy || !math.IsNaN(p.values[median]) || p.values[sessions] != 3 {
			t.Errorf("point %d is %v, want %v messages per second", i, p, want)
		}
	}
}

// TestFormats: values have few digits, units and thousands separators.
func TestFormats(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{number(uint64(0)), "0"}, {number(999), "999"}, {number(1000), "1,000"}, {number(uint64(1234567)), "1,234,567"},
		{decimal(0), "0"}, {decimal(0.00004), "0.00004"}, {decimal(0.003333), "0.0033"}, {decimal(0.2), "0.2"}, {decimal(0.999), "1"},
		{decimal(9.96), "10"}, {decimal(12.34), "12.3"}, {decimal(99.94), "99.9"}, {decimal(99.96), "100"}, {decimal(1234.5), "1,235"}, {decimal(math.NaN()), "–"},
		{seconds(0.0001234), "0.12 ms"}, {seconds(0.0123), "12.3 ms"}, {seconds(0.9994), "999 ms"}, {seconds(0.9996), "1 s"}, {seconds(61.2), "61.2 s"}, {seconds(math.NaN()), "–"},
		{size(0), "0 B"}, {size(1023), "1,023 B"}, {size(1024), "1 KiB"}, {size(25.5 * (1 << 20)), "25.5 MiB"}, {size(math.MaxUint64), "16 EiB"},
		{age(-time.Second), "0 s"}, {age(59 * time.Second), "59 s"}, {age(time.Minute), "1 min"}, {age(61 * time.Second), "1 min 1 s"},
		{age(time.Hour + 59*time.Second), "1 h"}, {age(23*time.Hour + 59*time.Minute), "23 h 59 min"}, {age(25 * time.Hour), "1 day 1 h"},
		{age(9*24*time.Hour + time.Hour), "9 days 1 h"}, {age(10*24*time.Hour + time.Hour), "10 days"}, {age(9875 * 24 * time.Hour), "9,875 days"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
