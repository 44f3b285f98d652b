package daemon

import (
	"fmt"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/metrics"
	"goguerrillad/internal/recipient"
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
		Retention:  func() commit.Retention { return d.committer.Retention() },
		Space:      func() commit.Space { return d.committer.Space() },
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
		"unavailable", c.Unavailable, "rejected", c.Rejected, "refused", c.Refused, "unknown", c.Unknown, "no_space", c.Full, "rows_deleted", d.committer.Retention().Deleted,
		"tls", s.TLS12+s.TLS13, "tls_failed", s.TLSFailed, "expired", s.Expired,
		"store_up", store.Up, "since", store.Since, "last_error", store.Last)
}

// status returns the line of systemctl status, which every user can read.
func (d *daemon) status() string {
	return statusLine(d.server.Stats().Sessions, d.committer.Counters().Messages, d.committer.Health(), d.recipients.Stats().Failing)
}

func statusLine(sessions int64, messages uint64, store commit.Health, query error) string {
	line := fmt.Sprintf("%s, %s stored, store ", count(uint64(sessions), "session"), count(messages, "message"))
	switch {
	case !store.Checked:
		line += "not checked yet"
	case store.Up:
		line += "up"
	case store.Full:
		line += "full " + store.Outage()
	default:
		line += "down " + store.Outage()
	}
	if query != nil {
		line += "; the last GM_RECIPIENT_QUERY failed: " + query.Error()
	}
	return line
}

// count returns a number with its noun.
func count(n uint64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprint(n, " ", noun)
}

// notifyChange makes the service send the status at once.
func (d *daemon) notifyChange() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}
