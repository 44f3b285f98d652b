package metrics

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// The page shows the last ten minutes.
const (
	sampleTime = 5 * time.Second
	samples    = 120
)

// history is the mails stored in each of the last intervals of sampleTime.
type history struct {
	mails [samples]uint64
	next  int    // the oldest
	last  uint64 // total at the last sample
}

func (h *history) add(total uint64) {
	h.mails[h.next] = total - h.last
	h.next, h.last = (h.next+1)%samples, total
}

// perSecond returns the rates, oldest first.
func (h *history) perSecond() []float64 {
	rates := make([]float64, samples)
	for i := range rates {
		rates[i] = float64(h.mails[(h.next+i)%samples]) / sampleTime.Seconds()
	}
	return rates
}

// sample fills the history.
func (m *Server) sample() {
	tick := time.NewTicker(sampleTime)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			total := m.Saver().Messages
			m.mu.Lock()
			m.history.add(total)
			m.mu.Unlock()
		case <-m.stop:
			return
		}
	}
}

//go:embed page.html
var pageText string

// view is what the page shows: nobody's address, and no mail.
type view struct {
	Well, Version, State string
	Sessions, Limit      int64
	Rate, Peak           string
	Plot                 template.HTMLAttr // the points of a polyline of 600 by 100
	Mails, Rows, Queued  uint64
	Commit, Batch        string
	Store, Redis         string
	Refused              []pair
	Reload               string
}

type pair struct {
	Name  string
	Value uint64
}

// page answers a person.
func (m *Server) page(w http.ResponseWriter, _ *http.Request) {
	var text bytes.Buffer
	if err := m.looks.Execute(&text, m.view()); err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(text.Bytes()) // who has gone does not read it
}

func (m *Server) view() view {
	server, saver := m.Sources.Server(), m.Saver()
	config := m.Config()
	up, since, _ := m.State()
	m.mu.Lock()
	rates, reloaded, refused := m.history.perSecond(), m.reloaded, m.refused
	m.mu.Unlock()
	v := view{
		Version: m.Version, State: "Mail is taken", Well: "well",
		Sessions: server.Sessions, Limit: int64(config.MaxClients),
		Mails: saver.Messages, Rows: saver.Rows, Queued: uint64(saver.Queued),
		Commit: "–", Batch: "–",
		Reload: reloaded.UTC().Format(time.DateTime) + " UTC",
	}
	v.Store = config.Store + map[bool]string{true: ", up since ", false: ", down since "}[up] + since.UTC().Format(time.DateTime) + " UTC"
	if config.RedisUp != nil {
		v.Redis = map[bool]string{true: "up", false: "down"}[config.RedisUp()]
	}
	if reason := m.ailment(); reason != "" {
		v.State, v.Well = "No mail is taken: "+reason, "ill"
	}
	if refused {
		v.Reload += "; the last reload was refused"
	}
	v.Rate, v.Peak, v.Plot = plot(rates)
	if seconds, batches := total(m.commitSeconds); batches > 0 {
		v.Commit = fmt.Sprintf("%.1f ms", 1000*seconds/float64(batches))
		rows, _ := total(m.commitRows)
		v.Batch = fmt.Sprintf("%.1f", rows/float64(batches))
	}
	for _, p := range []pair{
		{"no room", server.RefusedFull}, {"too many from one address", server.RefusedIP}, {"PROXY header", server.RefusedHeaders},
		{"store away", saver.Unavailable}, {"store refuses", saver.Rejected}, {"refused for good", saver.Refused}, {"outcome unknown", saver.Unknown},
		{"550, no such domain", m.replies[550].Load()}, {"552, too big", m.replies[552].Load()},
	} {
		if p.Value > 0 {
			v.Refused = append(v.Refused, p)
		}
	}
	return v
}

// plot draws the rates.
func plot(rates []float64) (now, peak string, points template.HTMLAttr) {
	most := 0.0
	for _, r := range rates {
		most = max(most, r)
	}
	var b strings.Builder
	for i, r := range rates {
		y := 100.0
		if most > 0 {
			y = 100 - 96*r/most
		}
		fmt.Fprintf(&b, "%d,%.1f ", i*600/(len(rates)-1), y)
	}
	return rate(rates[len(rates)-1]), rate(most), template.HTMLAttr(`points="` + b.String() + `"`)
}

func rate(r float64) string { return fmt.Sprintf("%.3g", r) }

// total returns the sum and the number of what a histogram has seen.
func total(h prometheus.Histogram) (sum float64, n uint64) {
	var m dto.Metric
	_ = h.Write(&m) // of a histogram, it is always nil
	return m.GetHistogram().GetSampleSum(), m.GetHistogram().GetSampleCount()
}
