package metrics

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 6, 10, 14, 5, 7, 0, time.UTC)

// plotValues draws a chart of the series messages with one value per 5 s, the last of which
// is from now.
func plotValues(axis func([]point, []curve) axis, values ...float64) plot {
	c := chart{Title: "X", lines: []curve{{"", "a", messages}}, axis: axis, format: decimal}
	return c.draw("p", span{"Last minute", time.Minute, 5 * time.Second, 20 * time.Second}, pointsOf(values...), now)
}

func pointsOf(values ...float64) (points []point) {
	for i, v := range values {
		p := point{at: now.Add(time.Duration(i-len(values)+1) * 5 * time.Second)}
		p.values[messages] = v
		points = append(points, p)
	}
	return points
}

func texts(marks []mark) (all []string) {
	for _, m := range marks {
		all = append(all, m.Text)
	}
	return all
}

// TestDraw compares the paths, the labels and the texts of plots. A minute is 2340 wide, so
// that 5 s are 195, and the height is 970.
func TestDraw(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		name   string
		axis   func([]point, []curve) axis
		values []float64
		path   string
		levels string
		text   string
	}{
		{"no point", rateAxis, nil, "", "0 0.5 1", "the first value follows after 5 s"},
		{"no value", timeAxis, []float64{nan, nan}, "", "0.001 0.01 0.1 1", "no values"},
		{"zeros", rateAxis, []float64{0, 0, 0}, "M2470 1060h0h390", "0 0.5 1", "0 (highest 0)"},
		{"one value", rateAxis, []float64{4}, "M2860 284h0", "0 2.5 5", "4 (highest 4)"},
		{"slopes", rateAxis, []float64{0, 0, 10, 10, 5}, "M2080 1060h0h195l195 -970h195l195 485", "0 5 10", "5 (highest 10)"},
		{"gap", rateAxis, []float64{2, nan, 1, 1, nan}, "M2080 90h0M2470 575h0h195", "0 1 2", "1 (highest 2)"},
		{"older than the span", rateAxis, append([]float64{9}, make([]float64, 13)...), "M520 1060h0h2340", "0 0.5 1", "0 (highest 0)"},
		{"logarithmic", timeAxis, []float64{0.02, 0.1, 2}, "M2470 963h0l195 -226l195 -421", "0.01 0.1 1 10", "2 (highest 2)"},
		{"linear, then logarithmic", classAxis, []float64{0, 0.005, 0.01, 100}, "M2275 1060h0l195 -97l195 -97l195 -776", "0 0.01 0.1 1 10 100", "100 (highest 100)"},
		{"a power of 10", classAxis, []float64{10}, "M2860 90h0", "0 1 10", "10 (highest 10)"},
		{"over the limit", func([]point, []curve) axis { return linear(4) }, []float64{5}, "M2860 90h0", "0 2 4", "5 (highest 5)"},
	} {
		p := plotValues(c.axis, c.values...)
		path := ""
		for _, l := range p.Lines {
			path += l.Path
		}
		if path != c.path || strings.Join(texts(p.Levels), " ") != c.levels || p.Text != c.text {
			t.Errorf("%s: path %q, levels %v, text %q, want %q, %s, %q", c.name, path, texts(p.Levels), p.Text, c.path, c.levels, c.text)
		}
		if got := texts(p.Times); !slices.Equal(got, []string{"14:04", "14:04", "14:05"}) {
			t.Errorf("%s: times %v", c.name, got)
		}
	}
}

// TestLast: the last value is next to its point, also if later points have no value.
func TestLast(t *testing.T) {
	p := plotValues(rateAxis, 1, 2, math.NaN())
	if want := (mark{X: 2665, Y: 90, TextX: 2725, TextY: 133, Class: "a", Text: "2"}); len(p.Last) != 1 || p.Last[0] != want {
		t.Errorf("last %v, want %v", p.Last, want)
	}
}

// TestSpread: texts do not cover each other and remain in the plot.
func TestSpread(t *testing.T) {
	for _, c := range []struct{ y, want []int }{
		{[]int{500}, []int{500}},
		{[]int{100, 500, 900}, []int{100, 500, 900}},
		{[]int{500, 500, 490}, []int{500, 370, 240}},
		{[]int{1200, 1103}, []int{1103, 973}},
	} {
		marks := make([]mark, len(c.y))
		for i, y := range c.y {
			marks[i].TextY = y
		}
		spread(marks)
		got := make([]int, len(c.y))
		for i, m := range marks {
			got[i] = m.TextY
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v becomes %v, want %v", c.y, got, c.want)
		}
	}
}

// TestBands: times in which the daemon did not accept messages are marked.
func TestBands(t *testing.T) {
	points := pointsOf(make([]float64, 12)...)
	for _, i := range []int{0, 4, 5, 11} {
		points[i].unhealthy = true
	}
	c := chart{lines: []curve{{"", "a", messages}}, axis: rateAxis, format: decimal}
	s := span{"Last minute", time.Minute, 5 * time.Second, 20 * time.Second}
	if got, want := c.draw("p", s, points, now).Bands, []band{{520, 195}, {1300, 390}, {2665, 195}}; !slices.Equal(got, want) {
		t.Errorf("bands %v, want %v", got, want)
	}
	s.length = time.Hour
	if got := c.draw("p", s, points[11:], now).Bands; len(got) != 1 || got[0].Width < 15 {
		t.Errorf("bands %v, want a visible one", got)
	}
}
