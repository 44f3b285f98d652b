package daemon

import (
	"fmt"
	"strings"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/metrics"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/smtpd"
)

// newMetrics returns the metrics. They are served only after start has set what
// they read.
func (d *daemon) newMetrics() *metrics.Server {
	return metrics.New(metrics.Sources{
		Version:    d.Version,
		Commit:     d.Commit,
		Server:     func() smtpd.Stats { return d.server.Stats() },
		Committer:  func() commit.Counters { return d.committer.Counters() },
		Recipients: func() recipient.Stats { return d.recipients.Stats() },
		Health:     func() commit.Health { return d.committer.Health() },
		Full:       func() bool { return d.server.Full() },
		Config:     func() metrics.Config { return *d.shown.Load() },
	})
}

// report logs the counters.
func (d *daemon) report() {
	s, c, r := d.server.Stats(), d.committer.Counters(), d.recipients.Stats()
	store := d.committer.Health()
	d.log.Info("counters",
		"sessions", s.Sessions, "memory", s.Memory, "waiting", s.Waiting, "queued", c.Queued,
		"connections", s.Accepted, "full", s.RefusedFull, "full_address", s.RefusedIP, "proxy_headers", s.RefusedHeaders, "accept_errors", s.AcceptErrors,
		"messages", c.Messages, "rows", c.Rows, "batches", c.Batches,
		"recipient_queries", r.Queries, "recipient_queries_failed", r.Failed, "recipients_known", r.Cached,
		"unavailable", c.Unavailable, "rejected", c.Rejected, "refused", c.Refused, "unknown", c.Unknown,
		"tls", s.TLS12+s.TLS13, "tls_failed", s.TLSFailed, "expired", s.Expired,
		"store_up", store.Up, "since", store.Since, "last_error", store.Last)
}

// status returns the line of systemctl status, which every user can read.
func (d *daemon) status() string {
	s, c := d.server.Stats(), d.committer.Counters()
	health := d.committer.Health()
	store := "up"
	if !health.Up {
		store = "down since " + health.Since.Format(time.DateTime)
		if health.Last != nil {
			store += ": " + strings.TrimPrefix(health.Last.Error(), savemail.ErrUnavailable.Error()+": ")
		}
	}
	return fmt.Sprintf("%d sessions, %d messages stored, store %s", s.Sessions, c.Messages, store)
}
