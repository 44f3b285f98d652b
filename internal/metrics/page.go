package metrics

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// The page contains the rates of the last 10 minutes.
const (
	sampleTime = 5 * time.Second
	samples    = 120
)

// A history holds the number of messages that were stored in each of the last
// intervals of sampleTime.
type history struct {
	messages [samples]uint64
	next     int    // index of the oldest interval
	last     uint64 // total at the last sample
}

func (h *history) add(total uint64) {
	h.messages[h.next] = total - h.last
	h.next, h.last = (h.next+1)%samples, total
}

// perSecond returns the rates in messages per second, oldest first.
func (h *history) perSecond() []float64 {
	rates := make([]float64, samples)
	for i := range rates {
		rates[i] = float64(h.messages[(h.next+i)%samples]) / sampleTime.Seconds()
	}
	return rates
}

// sample adds to the history until Close is called.
func (m *Server) sample() {
	tick := time.NewTicker(sampleTime)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			total := m.sources.Committer().Messages
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

// A view holds the values of the page. It contains no addresses and no messages.
type view struct {
	Host, Version         string
	State, Class          string // the heading and its CSS class, ok or error
	Sessions, Limit       string
	Rate, Peak            string            // messages per second
	Plot                  template.HTMLAttr // the points of a polyline of 600 by 100
	Stored, Rows, Queued  string
	CommitTime, BatchRows string // averages
	Store, Redis          string
	Certificates, Refused []pair
	Reload                string
}

type pair struct{ Name, Value string }

// page writes the page.
func (m *Server) page(w http.ResponseWriter, _ *http.Request) {
	var text bytes.Buffer
	if err := m.layout.Execute(&text, m.view()); err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(text.Bytes()) // fails only if the client has disconnected
}

func (m *Server) view() view {
	server, committer := m.sources.Server(), m.sources.Committer()
	config := m.sources.Config()
	store := m.sources.Health()
	m.mu.Lock()
	rates, reloaded, refused := m.history.perSecond(), m.reloaded, m.refused
	m.mu.Unlock()
	v := view{
		Host: config.Host, Version: m.sources.Version, State: "Accepting messages", Class: "ok",
		Sessions: number(uint64(server.Sessions)), Limit: number(uint64(config.MaxClients)),
		Stored: number(committer.Messages), Rows: number(committer.Rows), Queued: number(uint64(committer.Queued)),
		CommitTime: "–", BatchRows: "–",
		Reload: reloaded.UTC().Format(time.DateTime) + " UTC",
	}
	switch {
	case !store.Checked:
		v.Store = config.Store + ", not checked yet"
	case store.Up:
		v.Store = config.Store + ", up since " + store.Since.UTC().Format(time.DateTime) + " UTC"
	default:
		v.Store = config.Store + ", down since " + store.Since.UTC().Format(time.DateTime) + " UTC"
	}
	if config.RedisUp != nil {
		v.Redis = map[bool]string{true: "up", false: "down"}[config.RedisUp()]
	}
	if reason := m.unhealthy(); reason != "" {
		v.State, v.Class = strings.ToUpper(reason[:1])+reason[1:], "error"
		if store.Up || store.Refusing {
			v.State = "Not accepting messages: " + reason
		}
	}
	for _, c := range config.certificates() {
		v.Certificates = append(v.Certificates, pair{c.Name + ", " + c.Key, "until " + c.Ends.UTC().Format(time.DateTime) + " UTC"})
	}
	if refused {
		v.Reload += "; the last reload was refused"
	}
	v.Rate, v.Peak, v.Plot = plot(rates)
	if seconds, batches := total(m.commitSeconds); batches > 0 {
		v.CommitTime = fmt.Sprintf("%.1f ms", 1000*seconds/float64(batches))
		rows, _ := total(m.commitRows)
		v.BatchRows = fmt.Sprintf("%.1f", rows/float64(batches))
	}
	for _, p := range []struct {
		name string
		n    uint64
	}{
		{"connections: client limit", server.RefusedFull},
		{"connections: limit per address", server.RefusedIP},
		{"connections: PROXY header", server.RefusedHeaders},
		{"messages: store unavailable", committer.Unavailable},
		{"messages: rejected by the store", committer.Rejected},
		{"messages: refused permanently", committer.Refused},
		{"messages: outcome unknown", committer.Unknown},
		{"replies 550: recipient refused", m.replies[550].Load()},
		{"replies 552: message too big", m.replies[552].Load()},
	} {
		if p.n > 0 {
			v.Refused = append(v.Refused, pair{p.name, number(p.n)})
		}
	}
	return v
}

// plot returns the current rate, the highest rate and the polyline of the rates.
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

// number returns n with a comma between thousands.
func number(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func rate(r float64) string { return fmt.Sprintf("%.3g", r) }

// total returns the sum and the number of the observations of a histogram.
func total(h prometheus.Histogram) (sum float64, n uint64) {
	var m dto.Metric
	_ = h.Write(&m) // the error of a histogram is always nil
	return m.GetHistogram().GetSampleSum(), m.GetHistogram().GetSampleCount()
}
