package metrics

import (
	"runtime"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

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
	gauge("store_up", "1 if the store is available, else 0.", flag(store.Up || store.Full))
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

	if space := c.sources.Space(); space.Known {
		gauge("free_bytes", "Free space on the file system of the store, and in a SQLite file.", float64(space.Free))
		gauge("no_space", "1 if messages receive 452 until there is an eighth more than GM_MIN_FREE, else 0.", flag(space.Full))
		gauge("free_minimum_bytes", "Free space below which messages receive 452 (GM_MIN_FREE).", float64(space.Min))
	}
	if retention := c.sources.Retention(); retention.Keep > 0 {
		count("rows_deleted_total", "Rows or files that were deleted because of their age (GM_KEEP_HOURS).", retention.Deleted, nil)
		if !retention.Oldest.IsZero() {
			gauge("oldest_row_timestamp_seconds", "Date of the oldest message.", float64(retention.Oldest.Unix()))
		}
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
	count("mails_total", mailsHelp, committer.Full, labels{"outcome": "no_space"})
	const queriesHelp = "Queries of GM_RECIPIENT_QUERY."
	count("recipient_queries_total", queriesHelp, recipients.Queries-recipients.Failed, labels{"outcome": "answered"})
	count("recipient_queries_total", queriesHelp, recipients.Failed, labels{"outcome": "failed"})
	count("recipient_cache_hits_total", "Recipients with an answer in the cache.", recipients.Cached, nil)
	out <- c.latency.metric("goguerrillad_mail_duration_seconds", "Time from the end of a message to its commit.")
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
