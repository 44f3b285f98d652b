package metrics

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

//go:embed page.html
var pageText string

// A view holds the values of the page. It contains no addresses and no messages.
type view struct {
	Host, Version, Now string
	Refresh            bool
	condition
	Warnings []string
	Figures  []pair
	Charts   []drawn
	Shaded   bool // a plot has a band
	Groups   []group
}

// A drawn chart has one plot per span.
type drawn struct {
	Title, Note string
	Names       []curve
	Plots       []plot
}

// page writes the page. With the query "pause" it does not refresh itself, so that readers
// have time.
func (m *Server) page(w http.ResponseWriter, r *http.Request) {
	var text bytes.Buffer
	v := m.view()
	v.Refresh = !r.URL.Query().Has("pause")
	if err := m.layout.Execute(&text, v); err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(text.Bytes()) // fails only if the client has disconnected
}

func (m *Server) view() view {
	config, now := m.sources.Config(), time.Now()
	m.mu.Lock()
	recent, day, latest, refused := m.history.recent.list(), m.history.day.list(), m.history.recent.latest(), m.refused
	m.mu.Unlock()
	v := view{
		Host: config.Host, Version: m.sources.Version, Now: stamp(now), condition: m.condition(),
		Warnings: m.warnings(config, now, refused),
		Figures:  m.figures(config, latest),
		Groups:   m.groups(config, now),
	}
	if v.Reason != "" {
		v.Reason = strings.ToUpper(v.Reason[:1]) + v.Reason[1:]
	}
	for i, c := range charts(config) {
		d := drawn{Title: c.Title, Note: c.Note}
		if len(c.lines) > 1 {
			d.Names = c.lines
		}
		for j, s := range []struct {
			span
			points []point
		}{
			{span{"Last 10 minutes", recentPoints * sampleTime, sampleTime, 2 * time.Minute}, recent},
			{span{"Last 24 hours", dayPoints * perDayPoint * sampleTime, perDayPoint * sampleTime, 6 * time.Hour}, day},
		} {
			p := c.draw(fmt.Sprintf("p%d%d", i, j), s.span, s.points, now)
			d.Plots = append(d.Plots, p)
			v.Shaded = v.Shaded || len(p.Bands) > 0
		}
		v.Charts = append(v.Charts, d)
	}
	return v
}

// figures returns the current values at the top of the page.
func (m *Server) figures(config Config, latest point) []pair {
	server := m.sources.Server()
	return []pair{
		{"Messages per second", decimal(latest.values[messages])},
		{"Time to commit, p99", seconds(latest.values[slowest])},
		{"Sessions", number(server.Sessions) + " of " + number(config.MaxClients)},
		{"Memory", size(float64(server.Memory)) + " of " + size(float64(config.Memory))},
		{"Waiting for the store", number(m.sources.Committer().Queued)},
	}
}

// total returns the sum and the number of the observations of a histogram.
func total(h prometheus.Histogram) (sum float64, n uint64) {
	var m dto.Metric
	_ = h.Write(&m) // the error of a histogram is always nil
	return m.GetHistogram().GetSampleSum(), m.GetHistogram().GetSampleCount()
}
