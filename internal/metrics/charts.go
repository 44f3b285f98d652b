package metrics

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// The plot area of a chart, in tenths of the units of a page that is 340 wide. Left of it
// are the levels, right of it the last values, below it the times.
const (
	plotLeft, plotRight = 520, 2860
	plotTop, plotBottom = 90, 1060
	lineHeight          = 130
)

// A chart describes the plots of one kind of value.
type chart struct {
	Title, Note string
	lines       []curve
	axis        func(points []point, lines []curve) axis
	format      func(float64) string
}

// A curve is a line of a chart.
type curve struct {
	Name   string // "" if it is the only one
	Class  string // of CSS: a, b or c
	series series
}

// charts returns the charts of the page in their order.
func charts(c Config) []chart {
	limit := func(most float64) func([]point, []curve) axis {
		return func([]point, []curve) axis { return linear(most) }
	}
	return []chart{
		{"Messages stored per second", "", []curve{{"", "a", messages}}, rateAxis, decimal},
		{"Time to commit", "From the end of a message to its commit: half of the messages took at most p50, 99 of 100 at most p99.",
			[]curve{{"p50", "a", median}, {"p99", "b", slowest}}, timeAxis, seconds},
		{"Replies per second", "2xx accepts, 4xx asks the sender to try again, 5xx refuses permanently.",
			[]curve{{"2xx", "a", positive}, {"4xx", "b", temporary}, {"5xx", "c", permanent}}, classAxis, decimal},
		{"Sessions", "Counted every 5 s; the last 24 hours show the most in 5 minutes. The limit is " + number(c.MaxClients) + " (GM_MAX_CLIENTS).",
			[]curve{{"", "a", sessions}}, limit(float64(c.MaxClients)), decimal},
		{"Memory of message buffers", "Measured every 5 s; the last 24 hours show the most in 5 minutes. The budget is " + size(float64(c.Memory)) + " (GSMTP_MEMORY).",
			[]curve{{"", "a", memory}}, limit(float64(c.Memory)), size},
	}
}

// A span is the time that a plot shows.
type span struct {
	Name     string
	length   time.Duration
	interval time.Duration // between two points
	tick     time.Duration // between two labels
}

// A mark is a label of an axis, or the last value of a line.
type mark struct {
	X, Y, TextX, TextY int
	Class, Text        string
}

// A stroke is a line of a plot.
type stroke struct{ Class, Path string }

// A band marks a time in which the daemon did not accept messages.
type band struct{ X, Width int }

// A plot is a chart of one span, ready for the template.
type plot struct {
	ID, Title                      string
	Span, Text                     string // the caption
	Levels, Times, Last            []mark
	Lines                          []stroke
	Bands                          []band
	Left, Right, Top, Base, Height int
}

// draw plots the points of a span that ends now.
func (c chart) draw(id string, s span, points []point, now time.Time) plot {
	x := func(t time.Time) int {
		return plotRight - int(float64(plotRight-plotLeft)*now.Sub(t).Seconds()/s.length.Seconds())
	}
	points = slices.DeleteFunc(slices.Clone(points), func(p point) bool { return x(p.at) < plotLeft || p.at.After(now) })
	a := c.axis(points, c.lines)
	y := func(v float64) int {
		return plotBottom - int(math.Round(float64(plotBottom-plotTop)*min(max(a.height(v), 0), 1)))
	}
	var texts []string
	p := plot{ID: id, Title: c.Title, Span: s.Name, Left: plotLeft, Right: plotRight, Top: plotTop, Base: plotBottom, Height: plotBottom - plotTop}
	for _, v := range a.levels {
		p.Levels = append(p.Levels, mark{Y: y(v), TextY: y(v) + lineHeight/3, Text: c.format(v)})
	}
	for t := now.Add(-s.length).Truncate(s.tick).Add(s.tick); !t.After(now); t = t.Add(s.tick) {
		p.Times = append(p.Times, mark{X: x(t), Text: t.UTC().Format("15:04")})
	}
	for _, l := range c.lines {
		path, last := trace(points, s.interval, x, func(q point) (int, bool) {
			v := q.values[l.series]
			return y(v), !math.IsNaN(v)
		})
		if last >= 0 {
			v := points[last].values[l.series]
			p.Lines = append(p.Lines, stroke{l.Class, path})
			p.Last = append(p.Last, mark{X: x(points[last].at), TextX: x(points[last].at) + 60, Y: y(v), TextY: y(v) + lineHeight/3, Class: l.Class, Text: c.format(v)})
		}
		texts = append(texts, c.describe(l, points))
	}
	p.Text = strings.Join(slices.Compact(texts), ", ")
	if len(points) == 0 {
		p.Text = "the first value follows after " + age(s.interval)
	}
	spread(p.Last)
	p.Bands = bands(points, s.interval, x)
	return p
}

// trace returns the path of a line, with a gap where there is no value, and the index of
// the last point with a value, -1 if there is none.
func trace(points []point, interval time.Duration, x func(time.Time) int, y func(point) (int, bool)) (path string, last int) {
	var b strings.Builder
	last = -1
	var atX, atY, flat int
	for i, p := range points {
		newY, ok := y(p)
		newX := x(p.at)
		switch {
		case !ok:
			continue
		case last != i-1 || last < 0 || p.at.Sub(points[last].at) > 3*interval/2:
			if flat > 0 {
				fmt.Fprintf(&b, "h%d", flat)
			}
			fmt.Fprintf(&b, "M%d %dh0", newX, newY) // h0 draws a dot if the line ends here
			flat = 0
		case newY == atY:
			flat += newX - atX
		default:
			if flat > 0 {
				fmt.Fprintf(&b, "h%d", flat)
			}
			fmt.Fprintf(&b, "l%d %d", newX-atX, newY-atY)
			flat = 0
		}
		atX, atY, last = newX, newY, i
	}
	if flat > 0 {
		fmt.Fprintf(&b, "h%d", flat)
	}
	return b.String(), last
}

// describe returns the values of a line in words.
func (c chart) describe(l curve, points []point) string {
	most, last := 0.0, math.NaN()
	for _, p := range points {
		if v := p.values[l.series]; !math.IsNaN(v) {
			most, last = max(most, v), v
		}
	}
	if math.IsNaN(last) {
		return "no values"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s (highest %s)", l.Name, c.format(last), c.format(most)))
}

// spread moves the texts of marks apart, so that none covers another.
func spread(marks []mark) {
	sorted := make([]*mark, len(marks))
	for i := range marks {
		sorted[i] = &marks[i]
	}
	slices.SortStableFunc(sorted, func(a, b *mark) int { return b.TextY - a.TextY })
	bottom := plotBottom + lineHeight/3
	for _, m := range sorted {
		m.TextY = min(m.TextY, bottom)
		bottom = m.TextY - lineHeight
	}
}

// bands returns the times in which the daemon did not accept messages.
func bands(points []point, interval time.Duration, x func(time.Time) int) (all []band) {
	for _, p := range points {
		if !p.unhealthy {
			continue
		}
		from, to := max(x(p.at.Add(-interval)), plotLeft), x(p.at)
		from = min(from, to-15) // visible
		if n := len(all); n > 0 && all[n-1].X+all[n-1].Width >= from-1 {
			all[n-1].Width = to - all[n-1].X
		} else {
			all = append(all, band{from, to - from})
		}
	}
	return all
}
