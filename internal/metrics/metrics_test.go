package metrics_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/metrics"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/smtp"
	"goguerrillad/internal/smtpd"
)

// A fixture is a metrics server with state and figures from the test. Only the
// atomic values may change after Start.
type fixture struct {
	*metrics.Server
	down, full, redis atomic.Bool
	health            atomic.Pointer[commit.Health] // if not nil, instead of down
	space             atomic.Pointer[commit.Space]  // of the zero value if it is nil
	retention         atomic.Pointer[commit.Retention]
	config            metrics.Config
	server            smtpd.Stats
	committer         commit.Counters
	calls             atomic.Uint64 // of Committer
	messages          atomic.Uint64 // added to the Committer's messages
	recipients        recipient.Stats
}

// newFixture returns a metrics server that is not started, with the figures of a
// daemon that has received no message.
func newFixture() *fixture {
	f := &fixture{}
	f.config = metrics.Config{Host: "mx.example.com", MaxClients: 500, Memory: 1 << 20, Store: "mysql", Certificates: []metrics.Certificate{{"mx.example.com", "ECDSA", time.Unix(1800000000, 0)}, {"mx.example.com", "RSA", time.Unix(1900000000, 0)}, {"mx.example.com", "RSA", time.Unix(2000000000, 0)}}, RedisUp: f.redis.Load}
	f.Server = metrics.New(metrics.Sources{
		Version: `1.2"3`, Commit: "abc",
		Server: func() smtpd.Stats { return f.server },
		Committer: func() commit.Counters {
			f.calls.Add(1)
			c := f.committer
			c.Messages += f.messages.Load()
			return c
		},
		Recipients: func() recipient.Stats { return f.recipients },
		Health: func() commit.Health {
			if h := f.health.Load(); h != nil {
				return *h
			}
			return commit.Health{Checked: true, Up: !f.down.Load(), Refusing: f.down.Load(), Since: time.Unix(1700000000, 0)}
		},
		Full:      f.full.Load,
		Config:    func() metrics.Config { return f.config },
		Space:     func() commit.Space { return load(&f.space) },
		Retention: func() commit.Retention { return load(&f.retention) },
	})
	return f
}

// load returns the value of p, or the zero value.
func load[V any](p *atomic.Pointer[V]) (v V) {
	if p := p.Load(); p != nil {
		return *p
	}
	return v
}

// start returns a started metrics server with a different value for each figure.
// The server is closed when the test ends.
func start(t *testing.T) *fixture {
	f := newFixture()
	f.server = smtpd.Stats{
		Sessions: 3, Memory: 4096, Waiting: 1, Accepted: 10, RefusedFull: 2, RefusedIP: 5, RefusedHeaders: 11, AcceptErrors: 12,
		TLS12: 13, TLS13: 4, TLSFailed: 14, Expired: 6, Panics: 15,
	}
	f.committer = commit.Counters{Batches: 99, Messages: 7, Rows: 9, Bytes: 700, Unavailable: 16, Rejected: 17, Refused: 18, Unknown: 19, Queued: 8}
	f.recipients = recipient.Stats{Cached: 30, Queries: 5, Failed: 2}
	f.Start()
	t.Cleanup(f.Close)
	return f
}

func (f *fixture) get(path string) (status int, body string, h http.Header) {
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Code, w.Body.String(), w.Header()
}

// TestStart: New does not call the sources, which the daemon sets later.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		time.Sleep(time.Minute)
		if n := f.calls.Load(); n > 0 {
			t.Errorf("%d calls before Start, want 0", n)
		}
		f.Start()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := f.calls.Load(); n != 12 {
			t.Errorf("%d calls in a minute after Start, want 12", n)
		}
		f.Close()
		time.Sleep(time.Minute)
		if n := f.calls.Load(); n != 12 {
			t.Errorf("%d calls after Close, want 0", n-12)
		}
	})
}

// figures returns the lines of the daemon's metrics without histogram buckets.
func figures(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "goguerrillad_") && !strings.Contains(line, "_bucket{") {
			b.WriteString(strings.Replace(line, runtime.Version(), "GO", 1))
		}
	}
	return b.String()
}

// wantFigures are the figures of start and of the events in TestMetrics.
const wantFigures = `goguerrillad_accept_errors_total 12
goguerrillad_build_info{commit="abc",goversion="GO",version="1.2\"3"} 1
goguerrillad_certificate_expiry_timestamp_seconds{key="ECDSA",name="mx.example.com"} 1.8e+09
goguerrillad_certificate_expiry_timestamp_seconds{key="RSA",name="mx.example.com"} 1.9e+09
goguerrillad_commit_duration_seconds_sum 0.003
goguerrillad_commit_duration_seconds_count 1
goguerrillad_commit_rows_sum 9
goguerrillad_commit_rows_count 1
goguerrillad_config_last_reload_success_timestamp_seconds 9.46684801e+08
goguerrillad_config_last_reload_successful 0
goguerrillad_connections_refused_total{reason="address"} 5
goguerrillad_connections_refused_total{reason="full"} 2
goguerrillad_connections_refused_total{reason="proxy_header"} 11
goguerrillad_connections_total 10
goguerrillad_internal_errors_total 15
goguerrillad_mail_bytes_total 700
goguerrillad_mail_duration_seconds_sum 0.003
goguerrillad_mail_duration_seconds_count 2
goguerrillad_mails_total{outcome="no_space"} 0
goguerrillad_mails_total{outcome="refused"} 18
goguerrillad_mails_total{outcome="rejected"} 17
goguerrillad_mails_total{outcome="stored"} 7
goguerrillad_mails_total{outcome="unavailable"} 16
goguerrillad_mails_total{outcome="unknown"} 19
goguerrillad_memory_limit_bytes 1.048576e+06
goguerrillad_memory_reserved_bytes 4096
goguerrillad_memory_waiting_sessions 1
goguerrillad_queued_mails 8
goguerrillad_recipient_cache_hits_total 30
goguerrillad_recipient_queries_total{outcome="answered"} 3
goguerrillad_recipient_queries_total{outcome="failed"} 2
goguerrillad_redis_up 0
goguerrillad_replies_total{code="0"} 1
goguerrillad_replies_total{code="250"} 2
goguerrillad_replies_total{code="550"} 1
goguerrillad_replies_total{code="599"} 1
goguerrillad_rows_total 9
goguerrillad_sessions 3
goguerrillad_sessions_expired_total 6
goguerrillad_sessions_limit 500
goguerrillad_store_state_changed_timestamp_seconds 1.7e+09
goguerrillad_store_up 1
goguerrillad_tls_handshake_errors_total 14
goguerrillad_tls_handshakes_total{version="TLS1.2"} 13
goguerrillad_tls_handshakes_total{version="TLS1.3"} 4
`

// measure calls Timed for a message with an outcome.
func (f *fixture) measure(t *testing.T, took time.Duration, outcome error) {
	t.Helper()
	calls := 0
	done := f.Timed(func(err error) {
		if calls++; err != outcome {
			t.Errorf("the outcome is %v, want %v", err, outcome)
		}
	})
	time.Sleep(took)
	if done(outcome); calls != 1 {
		t.Errorf("%d outcomes, want 1", calls)
	}
}

// TestMetrics compares all figures. The clock of a synctest bubble starts at
// 946684800.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t)
		for _, code := range []int{250, 250, 550, -1, 0, 599, 600, 1000} {
			f.Replied(smtp.Reply{Code: code})
		}
		f.Committed(3*time.Millisecond, 9)
		f.measure(t, 3*time.Millisecond, nil)
		f.measure(t, 997*time.Millisecond, errors.New("store unavailable"))
		f.measure(t, 0, nil)
		f.Reloaded(nil)
		time.Sleep(time.Second)
		f.Reloaded(errors.New("no"))
		status, text, _ := f.get("/metrics")
		if status != 200 {
			t.Errorf("status %d, want 200", status)
		}
		got, want := strings.Split(figures(text), "\n"), strings.Split(wantFigures, "\n")
		for _, line := range want {
			if !slices.Contains(got, line) {
				t.Errorf("metrics lack %s", line)
			}
		}
		for _, line := range got {
			if !slices.Contains(want, line) {
				t.Errorf("unexpected metric %s", line)
			}
		}
		for _, want := range []string{
			"\ngo_goroutines ", "\nprocess_open_fds ",
			// The buckets are from 0.5 ms to 8 s, and from 1 to 128 rows.
			"commit_duration_seconds_bucket{le=\"0.0005\"} 0\n", "commit_duration_seconds_bucket{le=\"8.192\"} 1\ngoguerrillad_commit_duration_seconds_bucket{le=\"+Inf\"} 1\n",
			// The buckets are from 0.5 ms to 65.536 s.
			"mail_duration_seconds_bucket{le=\"0.0005\"} 1\ngoguerrillad_mail_duration_seconds_bucket{le=\"0.001\"} 1\n", "mail_duration_seconds_bucket{le=\"0.002\"} 1\n",
			"mail_duration_seconds_bucket{le=\"0.004\"} 2\n", "mail_duration_seconds_bucket{le=\"65.536\"} 2\ngoguerrillad_mail_duration_seconds_bucket{le=\"+Inf\"} 2\n",
			"commit_rows_bucket{le=\"1\"} 0\n", "commit_rows_bucket{le=\"128\"} 1\ngoguerrillad_commit_rows_bucket{le=\"+Inf\"} 1\n",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("metrics lack %s", want)
			}
		}
		problems, err := promlint.New(strings.NewReader(text)).Lint()
		if err != nil || len(problems) > 0 {
			t.Errorf("promlint: %v, error %v", problems, err)
		}

		f.Reloaded(nil)
		f.down.Store(true)
		f.redis.Store(true)
		_, text, _ = f.get("/metrics")
		for _, want := range []string{"config_last_reload_successful 1", "config_last_reload_success_timestamp_seconds 9.46684802e+08", "store_up 0", "redis_up 1"} {
			if !strings.Contains(text, "\ngoguerrillad_"+want+"\n") {
				t.Errorf("metrics lack %s", want)
			}
		}

		// Without a certificate and Redis, there are no metrics about them.
		f.config.Certificates, f.config.RedisUp = nil, nil
		if _, text, _ := f.get("/metrics"); strings.Contains(text, "certificate") || strings.Contains(text, "redis") {
			t.Errorf("metrics without a certificate and Redis:\n%s", text)
		}
	})
}

// TestSpaceAndRetention: the metrics about free space and deletion exist while they are known.
func TestSpaceAndRetention(t *testing.T) {
	f := newFixture()
	names := []string{"no_space", "free_bytes", "free_minimum_bytes", "rows_deleted_total", "oldest_row_timestamp_seconds"}
	want := func(values ...string) {
		t.Helper()
		_, text, _ := f.get("/metrics")
		for i, name := range names {
			_, rest, found := strings.Cut(text, "\ngoguerrillad_"+name+" ")
			value, _, _ := strings.Cut(rest, "\n")
			if value != values[i] || found != (values[i] != "") {
				t.Errorf("%s is %q, want %q", name, value, values[i])
			}
		}
	}
	want("", "", "", "", "")
	f.space.Store(&commit.Space{Known: true, Free: 4096, Min: 1024})
	f.retention.Store(&commit.Retention{Keep: time.Hour, Deleted: 12})
	want("0", "4096", "1024", "12", "")
	f.space.Store(&commit.Space{Known: true, Full: true, Free: 1100, Min: 1024})
	want("1", "1100", "1024", "12", "")
	f.space.Store(&commit.Space{Free: 4096, Min: 1024})
	f.retention.Store(&commit.Retention{Keep: time.Hour, Oldest: time.Unix(1000, 0)})
	want("", "", "", "0", "1000")
	f.retention.Store(&commit.Retention{Deleted: 12, Oldest: time.Unix(1000, 0)})
	want("", "", "", "", "")
}

// TestProtected: each response has the headers for browsers.
func TestProtected(t *testing.T) {
	f := start(t)
	for path, want := range map[string]int{"/": 200, "/metrics": 200, "/healthz": 200, "/other": 404} {
		if status, _, h := f.get(path); status != want || h.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") || !strings.HasPrefix(h.Get("Content-Type"), "text/") {
			t.Errorf("%s: status %d, want %d, headers %v", path, status, want, h)
		}
	}
}
