package metrics_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/smtp"
)

// TestPage: the page shows the state of the daemon and loads nothing from other servers.
func TestPage(t *testing.T) {
	f := start(t)
	f.Committed(3*time.Millisecond, 9)
	status, text, h := f.get("/")
	for _, want := range []string{`<h1 class="ok">Accepting messages</h1>`, "3 of 500", "3.0 ms", "client limit", "store unavailable", "<polyline points=", "mx.example.com", "mysql, up since 2023-11-14 22:13:20 UTC", "<dt>Redis</dt><dd>down</dd>"} {
		if !strings.Contains(text, want) {
			t.Errorf("page lacks %q:\n%s", want, text)
		}
	}
	if status != 200 || h.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("status %d, want 200, headers %v", status, h)
	}
	for _, outside := range []string{"http:", "https:", "//", "src=", "<script"} {
		if strings.Contains(text, outside) {
			t.Errorf("page contains %q", outside)
		}
	}
	d := xml.NewDecoder(strings.NewReader(text))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("page is not well-formed: %v\n%s", err, text)
		}
	}
	f.down.Store(true)
	if _, text, _ := f.get("/"); !strings.Contains(text, `<h1 class="error">Not accepting messages: store unavailable since`) {
		t.Errorf("page while the store is down:\n%s", text)
	}
	f.health.Store(&commit.Health{Checked: true, Last: errors.New("connection refused")})
	if _, text, _ := f.get("/"); !strings.Contains(text, `<h1 class="error">Store unavailable since`) || !strings.Contains(text, "messages wait: connection refused</h1>") {
		t.Errorf("page in a short outage:\n%s", text)
	}
	f.health.Store(&commit.Health{})
	if _, text, _ := f.get("/"); !strings.Contains(text, `<h1 class="error">Store not checked yet</h1>`) || !strings.Contains(text, "<dd>mysql, not checked yet</dd>") {
		t.Errorf("page before the first check:\n%s", text)
	}
	if status, _, _ := f.get("/other"); status != 404 {
		t.Errorf("/other: status %d, want 404", status)
	}
}

var pairs = regexp.MustCompile(`<dt>(.*)</dt><dd>(.*)</dd>`)

// shown returns the figures of the page by name.
func (f *fixture) shown(t *testing.T) map[string]string {
	t.Helper()
	_, text, _ := f.get("/")
	got := map[string]string{}
	for _, p := range pairs.FindAllStringSubmatch(text, -1) {
		if _, ok := got[p[1]]; ok {
			t.Errorf("page contains %q twice", p[1])
		}
		got[p[1]] = p[2]
	}
	return got
}

// wantShown compares all figures of the page.
func (f *fixture) wantShown(t *testing.T, want map[string]string) {
	t.Helper()
	got := f.shown(t)
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %q, want %q", name, got[name], value)
		}
	}
	for name, value := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("unexpected figure %q: %q", name, value)
		}
	}
}

// TestPageFigures compares all figures of a busy daemon.
func TestPageFigures(t *testing.T) {
	f := start(t)
	for _, code := range []int{550, 550, 552, 551, 250, 450} {
		f.Replied(smtp.Reply{Code: code})
	}
	f.Committed(3*time.Millisecond, 9)
	f.Committed(6*time.Millisecond, 2)
	f.redis.Store(true)
	f.wantShown(t, map[string]string{
		"now": "0", "peak": "0", "sessions": "3 of 500", "store": "mysql, up since 2023-11-14 22:13:20 UTC", "Redis": "up",
		"messages waiting for the store": "8", "messages stored": "7", "rows stored": "9",
		"average transaction time": "4.5 ms", "average rows per transaction": "5.5",
		"connections: client limit": "2", "connections: limit per address": "5", "connections: PROXY header": "11",
		"mx.example.com, ECDSA": "until 2027-01-15 08:00:00 UTC", "mx.example.com, RSA": "until 2030-03-17 17:46:40 UTC",
		"messages: store unavailable": "16", "messages: rejected by the store": "17",
		"messages: refused permanently": "18", "messages: outcome unknown": "19",
		"replies 550: recipient refused": "2", "replies 552: message too big": "1",
	})
}

// TestPageOfNewDaemon: the page of a daemon without messages has no meaningless
// figures.
func TestPageOfNewDaemon(t *testing.T) {
	f := newFixture()
	f.down.Store(true)
	f.config.RedisUp, f.config.Certificates = nil, nil
	f.wantShown(t, map[string]string{
		"now": "0", "peak": "0", "sessions": "0 of 500", "store": "mysql, down since 2023-11-14 22:13:20 UTC",
		"messages waiting for the store": "0", "messages stored": "0", "rows stored": "0",
		"average transaction time": "–", "average rows per transaction": "–",
	})
	_, text, _ := f.get("/")
	for _, figure := range []string{"NaN", "Refused or failed", "refused"} {
		if strings.Contains(text, figure) {
			t.Errorf("page contains %q:\n%s", figure, text)
		}
	}
	if strings.Count(text, ",100.0 ") != 120 || !strings.Contains(text, `points="0,100.0 5,100.0 `) || !strings.Contains(text, `600,100.0 "`) {
		t.Errorf("plot is not a straight line:\n%s", text)
	}
}

// TestThousands: large numbers have separators.
func TestThousands(t *testing.T) {
	f := newFixture()
	for n, want := range map[uint64]string{999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		f.messages.Store(n)
		if got := f.shown(t)["messages stored"]; got != want {
			t.Errorf("%d is shown as %s, want %s", n, got, want)
		}
	}
}

// TestPageReload: the page shows when the configuration was loaded and whether the
// last reload was refused.
func TestPageReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		for _, step := range []struct {
			err  error
			want string
		}{
			{nil, "2000-01-01 00:00:01 UTC ·"},
			{errors.New("no"), "2000-01-01 00:00:01 UTC; the last reload was refused ·"},
			{nil, "2000-01-01 00:00:03 UTC ·"},
		} {
			time.Sleep(time.Second)
			f.Reloaded(step.err)
			if _, text, _ := f.get("/"); !strings.Contains(text, "configuration loaded "+step.want) {
				t.Errorf("page lacks %q:\n%s", step.want, text)
			}
		}
	})
}

// TestPageHistory: the plot of the last 10 minutes moves every 5 s.
func TestPageHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		f.Start()
		defer f.Close()
		time.Sleep(time.Second) // to be between two samples
		step := func(messages uint64) {
			f.messages.Add(messages)
			time.Sleep(5 * time.Second)
			synctest.Wait()
		}
		want := func(now, peak string, points ...string) {
			t.Helper()
			_, text, _ := f.get("/")
			if got := f.shown(t); got["now"] != now || got["peak"] != peak {
				t.Errorf("rate now %s, peak %s, want %s, %s", got["now"], got["peak"], now, peak)
			}
			if label := fmt.Sprintf(`aria-label="now %s, peak %s messages per second"`, now, peak); !strings.Contains(text, label) {
				t.Errorf("page lacks %s:\n%s", label, text)
			}
			for _, p := range points {
				if !strings.Contains(text, p) {
					t.Errorf("page lacks %q:\n%s", p, text)
				}
			}
		}
		step(20)
		want("4", "4", `589,100.0 `, `600,4.0 "`)
		step(5)
		want("1", "4", `589,100.0 594,4.0 600,76.0 "`)
		for range 118 {
			step(0)
		}
		want("0", "4", `points="0,4.0 5,76.0 10,100.0 `, `600,100.0 "`)
		step(0)
		want("0", "1", `points="0,4.0 5,100.0 `)
		step(0)
		want("0", "0", `points="0,100.0 5,100.0 `)
	})
}
