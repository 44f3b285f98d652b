// Package metrics shows how the daemon does: to Prometheus at /metrics, to a
// load balancer at /healthz, to a person at /.
package metrics

import (
	"cmp"
	"html/template"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/httpd"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/smtp"
	"goguerrillad/internal/smtpd"
)

// Sources are where the figures come from. All are called from any goroutine.
type Sources struct {
	Version, Commit string
	Server          func() smtpd.Stats
	Saver           func() commit.Counters
	Recipients      func() recipient.Stats
	// State tells whether the store takes mail, since when that is so, and the
	// last thing that went wrong.
	State func() (up bool, since time.Time, lastErr error)
	// Full: no session more is taken.
	Full   func() bool
	Config func() Config
}

// Config is what is shown of the configuration.
type Config struct {
	MaxClients      int
	Memory          int64
	Store           string      // GM_SAVE_MAIL
	CertificateEnds time.Time   // zero where there is none
	RedisUp         func() bool // nil without Redis
}

// maxCode is above every reply of SMTP.
const maxCode = 600

// A Server answers requests, and hears of what is only seen where it happens.
// Its methods may be called from any goroutine.
type Server struct {
	Sources
	mux     *http.ServeMux
	looks   *template.Template // of the page
	replies [maxCode]atomic.Uint64

	commitSeconds, commitRows prometheus.Histogram

	mu       sync.Mutex
	reloaded time.Time // the last good configuration
	refused  bool      // the last reload
	history  history

	stop chan struct{}
}

// New returns a server. It calls none of the sources before Start, or before it is
// served.
func New(s Sources) *Server {
	m := &Server{
		Sources: s,
		looks:   template.Must(template.New("page").Parse(pageText)),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "goguerrillad_commit_duration_seconds",
			Help:    "Time of a transaction that stored mail.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15), // to 8 s
		}),
		commitRows: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "goguerrillad_commit_rows",
			Help:    "Rows of a transaction that stored mail.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 8), // to 128
		}),
		reloaded: time.Now(),
		stop:     make(chan struct{}),
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m.commitSeconds, m.commitRows, collector{m},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.mux = http.NewServeMux()
	m.mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	m.mux.HandleFunc("GET /healthz", m.healthz)
	m.mux.HandleFunc("GET /{$}", m.page)
	return m
}

// Start begins to sample for the page, in a goroutine that ends with Close.
func (m *Server) Start() { go m.sample() }

// Close ends the sampling.
func (m *Server) Close() { close(m.stop) }

// ServeHTTP answers a request.
func (m *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	httpd.Protect(w.Header())
	m.mux.ServeHTTP(w, r)
}

// Replied counts a reply of SMTP.
func (m *Server) Replied(r smtp.Reply) {
	if 0 <= r.Code && r.Code < maxCode {
		m.replies[r.Code].Add(1)
	}
}

// Committed hears of a transaction.
func (m *Server) Committed(took time.Duration, rows int) {
	m.commitSeconds.Observe(took.Seconds())
	m.commitRows.Observe(float64(rows))
}

// Reloaded hears how a reload ended.
func (m *Server) Reloaded(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refused = err != nil; err == nil {
		m.reloaded = time.Now()
	}
}

// healthz is 200 while mail is taken.
func (m *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	reason := m.ailment()
	if reason != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write([]byte(cmp.Or(reason, "ok") + "\n")) // who has gone does not read it
}

// ailment says why no mail is taken, "" while it is.
func (m *Server) ailment() string {
	if up, since, _ := m.State(); !up {
		return "the store is down since " + since.UTC().Format(time.RFC3339)
	}
	if m.Full() {
		return "there is no room for another session"
	}
	return ""
}

// collector reads the counters that others keep.
type collector struct{ *Server }

func (collector) Describe(chan<- *prometheus.Desc) {} // unchecked: the set is fixed all the same

func (c collector) Collect(out chan<- prometheus.Metric) {
	type labels = map[string]string
	emit := func(kind prometheus.ValueType, name, help string, value float64, l labels) {
		desc := prometheus.NewDesc("goguerrillad_"+name, help, nil, l)
		out <- prometheus.MustNewConstMetric(desc, kind, value)
	}
	gauge := func(name, help string, value float64) { emit(prometheus.GaugeValue, name, help, value, nil) }
	count := func(name, help string, value uint64, l labels) {
		emit(prometheus.CounterValue, name, help, float64(value), l)
	}

	server, saver := c.Server.Sources.Server(), c.Saver()
	config := c.Config()
	up, since, _ := c.State()
	c.mu.Lock()
	reloaded, refused := c.reloaded, c.refused
	c.mu.Unlock()

	emit(prometheus.GaugeValue, "build_info", "The program.", 1,
		labels{"version": c.Version, "commit": c.Commit, "goversion": runtime.Version()})
	gauge("sessions", "SMTP sessions now.", float64(server.Sessions))
	gauge("sessions_limit", "The most that there may be.", float64(config.MaxClients))
	gauge("memory_reserved_bytes", "Bytes of message buffers now.", float64(server.Memory))
	gauge("memory_limit_bytes", "The most that there may be.", float64(config.Memory))
	gauge("memory_waiting_sessions", "Sessions that wait for a message buffer now.", float64(server.Waiting))
	gauge("queued_mails", "Mails that wait for a transaction now.", float64(saver.Queued))
	gauge("store_up", "Whether the store takes mail.", flag(up))
	gauge("store_state_changed_timestamp_seconds", "When the store went up or down.", float64(since.Unix()))
	gauge("config_last_reload_successful", "Whether the last reload was taken.", flag(!refused))
	gauge("config_last_reload_success_timestamp_seconds", "When the configuration was read.", float64(reloaded.Unix()))
	if !config.CertificateEnds.IsZero() {
		gauge("certificate_expiry_timestamp_seconds", "When the certificate ends.", float64(config.CertificateEnds.Unix()))
	}
	if config.RedisUp != nil {
		gauge("redis_up", "Whether Redis answers.", flag(config.RedisUp()))
	}

	count("connections_total", "Connections, refused ones included.", server.Accepted, nil)
	const refusedHelp = "Connections that were turned away."
	count("connections_refused_total", refusedHelp, server.RefusedFull, labels{"reason": "full"})
	count("connections_refused_total", refusedHelp, server.RefusedIP, labels{"reason": "address"})
	count("connections_refused_total", refusedHelp, server.RefusedHeaders, labels{"reason": "proxy_header"})
	count("accept_errors_total", "Connections that could not be accepted.", server.AcceptErrors, nil)
	count("sessions_expired_total", "Sessions that were ended by a deadline.", server.Expired, nil)
	count("internal_errors_total", "Sessions that were ended by an error of the program.", server.Panics, nil)
	const tlsHelp = "TLS handshakes."
	count("tls_handshakes_total", tlsHelp, server.TLS12, labels{"version": "TLS1.2"})
	count("tls_handshakes_total", tlsHelp, server.TLS13, labels{"version": "TLS1.3"})
	count("tls_handshake_errors_total", "TLS handshakes that failed.", server.TLSFailed, nil)

	const mailsHelp = "Mails by what became of them in the store."
	count("mails_total", mailsHelp, saver.Messages, labels{"outcome": "stored"})
	count("mails_total", mailsHelp, saver.Unavailable, labels{"outcome": "unavailable"})
	count("mails_total", mailsHelp, saver.Rejected, labels{"outcome": "rejected"})
	count("mails_total", mailsHelp, saver.Refused, labels{"outcome": "refused"})
	count("mails_total", mailsHelp, saver.Unknown, labels{"outcome": "unknown"})
	recipients := c.Recipients()
	const queriesHelp = "Queries about recipients."
	count("recipient_queries_total", queriesHelp, recipients.Asked-recipients.Failed, labels{"outcome": "answered"})
	count("recipient_queries_total", queriesHelp, recipients.Failed, labels{"outcome": "failed"})
	count("recipient_cache_hits_total", "Recipients of whom the answer was known.", recipients.Cached, nil)
	count("rows_total", "Rows that were stored.", saver.Rows, nil)
	count("mail_bytes_total", "Bytes of the stored mails, as they arrived.", saver.Bytes, nil)
	for code := range c.replies {
		if n := c.replies[code].Load(); n > 0 {
			count("replies_total", "Replies of SMTP.", n, labels{"code": strconv.Itoa(code)})
		}
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
