// Package metrics reports the state of the daemon: at /metrics for Prometheus, at
// /healthz for load balancers, and at / as a web page.
package metrics

import (
	"cmp"
	"html/template"
	"net/http"
	"runtime"
	"slices"
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

// Sources are the functions that return the current figures. They are called from
// any goroutine.
type Sources struct {
	Version, Commit string
	Server          func() smtpd.Stats
	Committer       func() commit.Counters
	Recipients      func() recipient.Stats
	Health          func() commit.Health
	Full            func() bool // whether the client limit is reached
	Config          func() Config
}

// Config holds the values of the configuration that the metrics contain.
type Config struct {
	Host         string // name of the server, GSMTP_HOST_NAME
	MaxClients   int    // SMTP sessions
	Memory       int64  // bytes, GSMTP_MEMORY
	Store        string // GM_SAVE_MAIL
	Certificates []Certificate
	RedisUp      func() bool // nil without Redis
}

// A Certificate is one of the server's.
type Certificate struct {
	Name string // its main name
	Key  string // algorithm, such as ECDSA
	Ends time.Time
}

// certificates returns the certificates with different names or keys: of the same, the one
// that ends first.
func (c Config) certificates() (list []Certificate) {
	for _, cert := range c.Certificates {
		i := slices.IndexFunc(list, func(other Certificate) bool { return other.Name == cert.Name && other.Key == cert.Key })
		if i < 0 {
			list = append(list, cert)
		} else if cert.Ends.Before(list[i].Ends) {
			list[i] = cert
		}
	}
	return list
}

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

// Start starts a goroutine that samples the message rate for the page. Close stops
// it.
func (m *Server) Start() { go m.sample() }

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

// healthz replies 200 if the daemon accepts messages, else 503 with the reason.
func (m *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	reason := m.unhealthy()
	if reason != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write([]byte(cmp.Or(reason, "ok") + "\n")) // fails only if the client has disconnected
}

// unhealthy returns the reason why the daemon does not accept messages, or "".
func (m *Server) unhealthy() string {
	switch store := m.sources.Health(); {
	case store.Up:
	case !store.Checked:
		return "store not checked yet"
	default:
		return "store unavailable " + store.Outage()
	}
	if m.sources.Full() {
		return "client limit reached"
	}
	return ""
}

// A collector converts the figures of the sources to metrics.
type collector struct{ *Server }

// Describe sends nothing, so that the registry does not check the metrics: some of
// them depend on the configuration.
func (collector) Describe(chan<- *prometheus.Desc) {}

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

	server, committer, recipients := c.sources.Server(), c.sources.Committer(), c.sources.Recipients()
	config := c.sources.Config()
	store := c.sources.Health()
	c.mu.Lock()
	reloaded, refused := c.reloaded, c.refused
	c.mu.Unlock()

	emit(prometheus.GaugeValue, "build_info", "Version of the daemon. The value is always 1.", 1,
		labels{"version": c.sources.Version, "commit": c.sources.Commit, "goversion": runtime.Version()})
	gauge("sessions", "Current SMTP sessions.", float64(server.Sessions))
	gauge("sessions_limit", "Maximum number of SMTP sessions.", float64(config.MaxClients))
	gauge("memory_reserved_bytes", "Current size of all message buffers.", float64(server.Memory))
	gauge("memory_limit_bytes", "Maximum size of all message buffers (GSMTP_MEMORY).", float64(config.Memory))
	gauge("memory_waiting_sessions", "Sessions that are waiting for a message buffer.", float64(server.Waiting))
	gauge("queued_mails", "Messages that are waiting for a transaction.", float64(committer.Queued))
	gauge("store_up", "1 if the store accepts messages, else 0.", flag(store.Up))
	gauge("store_state_changed_timestamp_seconds", "Time of the last change of store_up.", float64(store.Since.Unix()))
	gauge("config_last_reload_successful", "1 if the last reload succeeded, else 0.", flag(!refused))
	gauge("config_last_reload_success_timestamp_seconds", "Time of the start or the last successful reload.", float64(reloaded.Unix()))
	for _, cert := range config.certificates() {
		emit(prometheus.GaugeValue, "certificate_expiry_timestamp_seconds", "Time when the TLS certificate expires.", float64(cert.Ends.Unix()),
			labels{"name": cert.Name, "key": cert.Key})
	}
	if config.RedisUp != nil {
		gauge("redis_up", "1 if Redis is available, else 0.", flag(config.RedisUp()))
	}

	count("connections_total", "Connections, including refused connections.", server.Accepted, nil)
	const refusedHelp = "Refused connections."
	count("connections_refused_total", refusedHelp, server.RefusedFull, labels{"reason": "full"})
	count("connections_refused_total", refusedHelp, server.RefusedIP, labels{"reason": "address"})
	count("connections_refused_total", refusedHelp, server.RefusedHeaders, labels{"reason": "proxy_header"})
	count("accept_errors_total", "Errors while accepting connections, such as a lack of descriptors.", server.AcceptErrors, nil)
	count("sessions_expired_total", "Sessions that were closed by a timeout.", server.Expired, nil)
	count("internal_errors_total", "Sessions that were closed by an internal error.", server.Panics, nil)
	const tlsHelp = "Successful TLS handshakes."
	count("tls_handshakes_total", tlsHelp, server.TLS12, labels{"version": "TLS1.2"})
	count("tls_handshakes_total", tlsHelp, server.TLS13, labels{"version": "TLS1.3"})
	count("tls_handshake_errors_total", "Failed TLS handshakes.", server.TLSFailed, nil)

	const mailsHelp = "Messages by the outcome of storing them."
	count("mails_total", mailsHelp, committer.Messages, labels{"outcome": "stored"})
	count("mails_total", mailsHelp, committer.Unavailable, labels{"outcome": "unavailable"})
	count("mails_total", mailsHelp, committer.Rejected, labels{"outcome": "rejected"})
	count("mails_total", mailsHelp, committer.Refused, labels{"outcome": "refused"})
	count("mails_total", mailsHelp, committer.Unknown, labels{"outcome": "unknown"})
	const queriesHelp = "Queries of GM_RECIPIENT_QUERY."
	count("recipient_queries_total", queriesHelp, recipients.Queries-recipients.Failed, labels{"outcome": "answered"})
	count("recipient_queries_total", queriesHelp, recipients.Failed, labels{"outcome": "failed"})
	count("recipient_cache_hits_total", "Recipients with an answer in the cache.", recipients.Cached, nil)
	count("rows_total", "Stored rows.", committer.Rows, nil)
	count("mail_bytes_total", "Size of the stored messages as they arrived.", committer.Bytes, nil)
	for code := range c.replies {
		if n := c.replies[code].Load(); n > 0 {
			count("replies_total", "SMTP replies.", n, labels{"code": strconv.Itoa(code)})
		}
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
