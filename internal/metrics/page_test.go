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
	"goguerrillad/internal/metrics"
	"goguerrillad/internal/smtp"
)

// TestPage: the page shows the state of the daemon, is well-formed, and loads nothing.
func TestPage(t *testing.T) {
	f := start(t)
	status, text, h := f.get("/")
	if status != 200 || h.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("status %d, want 200, headers %v", status, h)
	}
	for _, want := range []string{"<h1>Accepting messages</h1>", `<header class="ok">`, "mx.example.com", `href="metrics"`, `href="healthz"`, `http-equiv="refresh"`} {
		if !strings.Contains(text, want) {
			t.Errorf("page lacks %q:\n%s", want, text)
		}
	}
	for _, outside := range []string{"http:", "https:", "//", "src=", "<script", "url("} {
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
	if _, text, _ := f.get("/?pause"); strings.Contains(text, `http-equiv="refresh"`) || !strings.Contains(text, `<a href="./">`) {
		t.Errorf("the paused page refreshes itself:\n%s", text)
	}
	if status, _, _ := f.get("/other"); status != 404 {
		t.Errorf("/other: status %d, want 404", status)
	}
}

// TestCondition: the heading and /healthz state whether the daemon accepts messages.
func TestCondition(t *testing.T) {
	f := start(t)
	want := func(class, title, reason string) {
		t.Helper()
		_, text, _ := f.get("/")
		status, health, _ := f.get("/healthz")
		if !strings.Contains(text, `<header class="`+class+`">`+"\n<h1>"+title+"</h1>") {
			t.Errorf("page lacks %s %q:\n%s", class, title, text[strings.Index(text, "<header"):][:300])
		}
		if class == "ok" {
			if status != 200 || health != "ok\n" {
				t.Errorf("/healthz: %d %q, want 200", status, health)
			}
			return
		}
		if shown := strings.ToUpper(reason[:1]) + reason[1:]; !strings.Contains(text, "<p>"+shown+"</p>") {
			t.Errorf("page lacks %q", shown)
		}
		if status != 503 || health != reason+"\n" {
			t.Errorf("/healthz: %d %q, want 503 %q", status, health, reason)
		}
	}
	want("ok", "Accepting messages", "")
	f.full.Store(true)
	want("error", "Refusing connections", "client limit reached")
	f.space.Store(&commit.Space{Known: true, Full: true, Free: 63 << 20, Min: 64 << 20})
	want("error", "Not accepting messages", "free space below GM_MIN_FREE, replying 452: 63 MiB free, minimum 64 MiB")
	f.space.Store(&commit.Space{Known: true, Full: true, Free: 65 << 20, Min: 64 << 20})
	want("error", "Not accepting messages", "free space not yet an eighth above GM_MIN_FREE, replying 452: 65 MiB free, minimum 64 MiB")
	f.space.Store(&commit.Space{Known: true, Free: 64 << 20, Min: 64 << 20})
	f.down.Store(true)
	want("error", "Not accepting messages", "store unavailable since 2023-11-14 22:13:20 UTC, replying 451")
	f.health.Store(&commit.Health{Checked: true, Since: time.Unix(1700000000, 0), Last: errors.New("connection refused\nby both")})
	want("warning", "Messages wait", "store unavailable since 2023-11-14 22:13:20 UTC, messages wait: connection refused; by both")
	f.health.Store(&commit.Health{})
	want("warning", "Starting", "store not checked yet")
	f.full.Store(false)
	f.health.Store(&commit.Health{Up: true}) // after a reload
	want("ok", "Accepting messages", "")
}

// TestWarnings: the page lists what needs attention, and nothing else.
func TestWarnings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		want := func(want ...string) {
			t.Helper()
			_, text, _ := f.get("/")
			var got []string
			for _, m := range regexp.MustCompile(`<li>(.*)</li>`).FindAllStringSubmatch(text, -1) {
				got = append(got, m[1])
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("warnings %q, want %q", got, want)
			}
		}
		f.redis.Store(true)
		want()
		f.space.Store(&commit.Space{Known: true, Free: 256 << 20, Min: 64 << 20})
		f.config.Certificates = []metrics.Certificate{
			{"a.example.com", "ECDSA", time.Now().Add(14 * 24 * time.Hour)},
			{"b.example.com", "RSA", time.Now().Add(14*24*time.Hour - time.Second)},
			{"<b>", "RSA", time.Now()},
		}
		want("The certificate of b.example.com (RSA) ends in 13 days.", "The certificate of &lt;b&gt; (RSA) has ended.")
		f.config.Certificates = nil
		f.space.Store(&commit.Space{Known: true, Free: 256<<20 - 1, Min: 64 << 20})
		f.redis.Store(false)
		f.recipients.Failing = errors.New("near 'b@example.com'")
		f.server.Waiting = 1234
		f.retention.Store(&commit.Retention{Keep: time.Hour, Err: errors.New("disk <full>")})
		f.Reloaded(errors.New("no"))
		want("Little free space: 256 MiB free, minimum 64 MiB.",
			"The last reload was refused: the daemon uses the configuration that it loaded before. goguerrillad -t shows the error.",
			"Redis is unavailable: messages are stored in the database only.",
			"GM_RECIPIENT_QUERY fails: recipients without a cached answer wait or receive 451. The log has the error.",
			"Sessions that are waiting for memory (GSMTP_MEMORY): 1,234.",
			"Old messages were not deleted: disk &lt;full&gt;.")
	})
}

var pairs = regexp.MustCompile(`<dt>(.*?)</dt><dd>(.*?)</dd>`)

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
	synctest.Test(t, func(t *testing.T) {
		f := start(t)
		time.Sleep(26*time.Hour + time.Second) // between two samples
		f.Reloaded(nil)
		for _, code := range []int{550, 550, 552, 551, 250, 450} {
			f.Replied(smtp.Reply{Code: code})
		}
		f.Committed(3*time.Millisecond, 9)
		f.Committed(6*time.Millisecond, 2)
		done := f.Timed(func(error) {})
		f.messages.Add(20)
		time.Sleep(20 * time.Millisecond)
		done(nil)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		f.redis.Store(true)
		f.space.Store(&commit.Space{Known: true, Free: 3 << 30, Min: 64 << 20})
		f.retention.Store(&commit.Retention{Keep: 36 * time.Hour, Deleted: 12345, Oldest: time.Now().Add(-37 * time.Hour)})
		f.wantShown(t, map[string]string{
			"Messages per second": "4", "Time to commit, p99": "20.7 ms", "Sessions": "3 of 500", "Memory": "4 KiB of 1 MiB", "Waiting for the store": "8",
			"Store": "mysql, available", "Since": "2023-11-14 22:13:20", "Redis": "available", "Free space": "3 GiB free, minimum 64 MiB",
			"Messages are kept": "for 1 day 12 h", "Deleted since the start": "12,345", "Oldest message": "1999-12-31 13:00:07, 1 day 13 h ago",
			"mx.example.com, ECDSA": "2027-01-15 08:00:00, in 9,875 days", "mx.example.com, RSA": "2030-03-17 17:46:40, in 11,032 days",
			"Messages stored": "27", "Rows stored": "9", "Size of the messages": "700 B",
			"Average time of a transaction": "4.5 ms", "Average rows of a transaction": "5.5",
			"Connections: client limit": "2", "Connections: limit per address": "5", "Connections: PROXY header": "11",
			"Messages: store unavailable": "16", "Messages: rejected by the store": "17",
			"Messages: refused permanently": "18", "Messages: outcome unknown": "19",
			"Replies 550: recipient refused": "2", "Replies 552: message too big": "1",
			"Version": "1.2&#34;3 abc", "Started": "2000-01-01 00:00:00", "Uptime": "1 day 2 h", "Configuration loaded": "2000-01-02 02:00:01",
		})
	})
}

// TestPageOfNewDaemon: the page of a daemon without messages has no meaningless figures.
func TestPageOfNewDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		f.down.Store(true)
		f.config.RedisUp, f.config.Certificates = nil, f.config.Certificates[:1]
		f.wantShown(t, map[string]string{
			"mx.example.com, ECDSA": "2027-01-15 08:00:00, in 9,876 days",
			"Messages per second":   "0", "Time to commit, p99": "–", "Sessions": "0 of 500", "Memory": "0 B of 1 MiB", "Waiting for the store": "0",
			"Store": "mysql, unavailable", "Since": "2023-11-14 22:13:20", "Messages are kept": "until another program deletes them",
			"Messages stored": "0", "Rows stored": "0", "Size of the messages": "0 B",
			"Version": "1.2&#34;3 abc", "Started": "2000-01-01 00:00:00", "Uptime": "0 s", "Configuration loaded": "2000-01-01 00:00:00",
		})
		_, text, _ := f.get("/")
		for _, figure := range []string{"NaN", "Inf", "Refused or failed", "refused"} {
			if strings.Contains(text, figure) {
				t.Errorf("page contains %q:\n%s", figure, text)
			}
		}
		for after, want := range map[string]int{"5 s": 5, "5 min": 5} {
			if n := strings.Count(text, ">the first value follows after "+after+"<"); n != want {
				t.Errorf("%d plots without values for %s, want %d", n, after, want)
			}
		}
		f.health.Store(&commit.Health{})
		if got := f.shown(t)["Store"]; got != "mysql, not checked yet" {
			t.Errorf("before the first check, the store is %q", got)
		}
	})
}
