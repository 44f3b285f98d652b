// Package metrics reports the state of the daemon: at /metrics for Prometheus, at
// /healthz for load balancers, and at / as a web page.
package metrics

import (
	"cmp"
	"html/template"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"goguerrillad/internal/httpd"
	"goguerrillad/internal/smtp"
)

// maxCode is greater than every reply code of SMTP.
const maxCode = 600

// A Server is the HTTP handler of the metrics, and counts events that no source
// counts. Its methods may be called from any goroutine.
type Server struct {
	sources Sources
	mux     *http.ServeMux
	layout  *template.Template // of the page
	replies [maxCode]atomic.Uint64

	commitSeconds, commitRows prometheus.Histogram
	latency                   latency // from the end of a message to its commit

	started time.Time

	mu       sync.Mutex
	reloaded time.Time // when the current configuration was read
	refused  bool      // the last reload was refused
	history  history

	stop chan struct{}
}

// New returns a server. It does not call the sources before Start or the first
// request.
func New(s Sources) *Server {
	m := &Server{
		sources: s,
		layout:  template.Must(template.New("page").Parse(pageText)),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "goguerrillad_commit_duration_seconds",
			Help:    "Duration of a transaction that stored messages.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15), // up to 8 s
		}),
		commitRows: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "goguerrillad_commit_rows",
			Help:    "Rows of a transaction that stored messages.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 8), // up to 128
		}),
		started: time.Now(),
		stop:    make(chan struct{}),
	}
	m.reloaded, m.history = m.started, newHistory(m.started)
	registry := prometheus.NewRegistry()
	registry.MustRegister(m.commitSeconds, m.commitRows, collector{m},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.mux = http.NewServeMux()
	m.mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	m.mux.HandleFunc("GET /healthz", m.healthz)
	m.mux.HandleFunc("GET /{$}", m.page)
	return m
}

// Start starts a goroutine that keeps the history of the page. Close stops it.
func (m *Server) Start() { go m.keepHistory() }

// Close stops the goroutine of Start. It must be called only once.
func (m *Server) Close() { close(m.stop) }

// ServeHTTP implements http.Handler.
func (m *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	httpd.Protect(w.Header())
	m.mux.ServeHTTP(w, r)
}

// Replied counts an SMTP reply.
func (m *Server) Replied(r smtp.Reply) {
	if 0 <= r.Code && r.Code < maxCode {
		m.replies[r.Code].Add(1)
	}
}

// Committed records the duration and the rows of a transaction.
func (m *Server) Committed(took time.Duration, rows int) {
	m.commitSeconds.Observe(took.Seconds())
	m.commitRows.Observe(float64(rows))
}

// Reloaded records the result of a reload.
func (m *Server) Reloaded(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refused = err != nil; err == nil {
		m.reloaded = time.Now()
	}
}

// Timed returns done with a measurement: the time from this call, at the end of a message,
// to the commit. Other outcomes are not measured.
func (m *Server) Timed(done func(error)) func(error) {
	began := time.Now()
	return func(err error) {
		if err == nil {
			m.latency.observe(time.Since(began))
		}
		done(err)
	}
}

// healthz replies 200 if the daemon accepts messages, else 503 with the reason.
func (m *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	reason := m.condition().Reason
	if reason != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write([]byte(cmp.Or(reason, "ok") + "\n")) // fails only if the client has disconnected
}
