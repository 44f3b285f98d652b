package metrics_test

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"goguerrillad/internal/metrics"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/smtpd"
)

// fixture is a server whose daemon is as the test likes.
type fixture struct {
	*metrics.Server
	down, full atomic.Bool
}

func start(t *testing.T) *fixture {
	f := &fixture{}
	f.Server = metrics.New(metrics.Sources{
		Version: `1.2"3`, Commit: "abc",
		Server: func() smtpd.Stats {
			return smtpd.Stats{Sessions: 3, Memory: 4096, Waiting: 1, Accepted: 10, RefusedFull: 2, RefusedIP: 5, TLS13: 4, Expired: 6}
		},
		Saver: func() savemail.Counters {
			return savemail.Counters{Mails: 7, Rows: 9, Bytes: 700, Unavailable: 2, Unknown: 1, Queued: 8}
		},
		Recipients: func() recipient.Stats { return recipient.Stats{Cached: 30, Asked: 5, Failed: 2} },
		State: func() (bool, time.Time, error) {
			return !f.down.Load(), time.Unix(1700000000, 0), errors.New("dial tcp 192.0.2.1:3306: refused")
		},
		Full: f.full.Load,
		Config: func() metrics.Config {
			return metrics.Config{MaxClients: 500, Memory: 1 << 20, Store: "mysql", CertificateEnds: time.Unix(1800000000, 0),
				RedisUp: func() bool { return false }}
		},
	})
	f.Start()
	t.Cleanup(f.Close)
	return f
}

func (f *fixture) get(path string) (status int, body string, h http.Header) {
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Code, w.Body.String(), w.Header()
}

// TestStart: the sources are not called before Start, since they need what the
// daemon makes later.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		m := metrics.New(metrics.Sources{Saver: func() savemail.Counters { calls++; return savemail.Counters{} }})
		time.Sleep(time.Minute)
		if calls > 0 {
			t.Errorf("%d calls before Start", calls)
		}
		m.Start()
		time.Sleep(time.Minute)
		synctest.Wait()
		if calls == 0 {
			t.Error("no call after Start")
		}
		m.Close()
	})
}

func TestMetrics(t *testing.T) {
	f := start(t)
	f.Replied(250)
	f.Replied(250)
	f.Replied(550)
	f.Replied(-1)
	f.Replied(1000)
	f.Committed(3*time.Millisecond, 9)
	f.Reloaded(errors.New("no"))
	status, text, _ := f.get("/metrics")
	for _, want := range []string{
		"goguerrillad_sessions 3", "goguerrillad_sessions_limit 500", "goguerrillad_memory_reserved_bytes 4096",
		`goguerrillad_connections_refused_total{reason="full"} 2`, `goguerrillad_connections_refused_total{reason="address"} 5`,
		`goguerrillad_mails_total{outcome="stored"} 7`, `goguerrillad_mails_total{outcome="unavailable"} 2`,
		`goguerrillad_recipient_queries_total{outcome="answered"} 3`, `goguerrillad_recipient_queries_total{outcome="failed"} 2`, "goguerrillad_recipient_cache_hits_total 30",
		"goguerrillad_rows_total 9", "goguerrillad_mail_bytes_total 700", "goguerrillad_queued_mails 8",
		`goguerrillad_replies_total{code="250"} 2`, `goguerrillad_replies_total{code="550"} 1`,
		"goguerrillad_commit_duration_seconds_count 1", "goguerrillad_commit_rows_sum 9", "goguerrillad_store_up 1", "goguerrillad_redis_up 0",
		`goguerrillad_tls_handshakes_total{version="TLS1.3"} 4`, "goguerrillad_config_last_reload_successful 0",
		"goguerrillad_certificate_expiry_timestamp_seconds 1.8e+09", `commit="abc"`, `version="1.2\"3"`,
		"go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if status != 200 || strings.Contains(text, "192.0.2.1") {
		t.Errorf("%d:\n%s", status, text)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	f.Reloaded(nil)
	if _, text, _ := f.get("/metrics"); !strings.Contains(text, "goguerrillad_config_last_reload_successful 1") {
		t.Error("a good reload does not show")
	}
}

func TestHealth(t *testing.T) {
	f := start(t)
	want := func(status int, body string) {
		t.Helper()
		if got, text, _ := f.get("/healthz"); got != status || text != body {
			t.Errorf("%d %s", got, text)
		}
	}
	want(200, "ok\n")
	f.full.Store(true)
	want(503, "there is no room for another session\n")
	f.down.Store(true)
	want(503, "the store is down since 2023-11-14T22:13:20Z\n")
}

// TestProtected: each response has the headers that protect a browser.
func TestProtected(t *testing.T) {
	f := start(t)
	for path, want := range map[string]int{"/": 200, "/metrics": 200, "/healthz": 200, "/other": 404} {
		if status, _, h := f.get(path); status != want || h.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d, %v", path, status, h)
		}
	}
}

// TestPage: it is whole by itself, says how things are, and names nobody.
func TestPage(t *testing.T) {
	f := start(t)
	f.Committed(3*time.Millisecond, 9)
	status, text, h := f.get("/")
	for _, want := range []string{"Mail is taken", "3 of 500", "3.0 ms", "no room", "store away", "<polyline points=", "mysql, up since 2023-11-14 22:13:20 UTC", "<dt>Redis</dt><dd>down</dd>"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing:\n%s", want, text)
		}
	}
	if status != 200 || h.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%d, %v", status, h)
	}
	for _, outside := range []string{"http:", "https:", "//", "src=", "<script", "192.0.2.1"} {
		if strings.Contains(text, outside) {
			t.Errorf("%q is in the page", outside)
		}
	}
	d := xml.NewDecoder(strings.NewReader(text))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v:\n%s", err, text)
		}
	}
	f.down.Store(true)
	if _, text, _ := f.get("/"); !strings.Contains(text, "No mail is taken: the store is down since") {
		t.Errorf("while the store is down:\n%s", text)
	}
	if status, _, _ := f.get("/other"); status != 404 {
		t.Errorf("/other: %d", status)
	}
}
