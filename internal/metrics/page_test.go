package metrics_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"goguerrillad/internal/smtp"
)

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

var pairs = regexp.MustCompile(`<dt>(.*)</dt><dd>(.*)</dd>`)

// shown returns the figures of the page by their names.
func (f *fixture) shown(t *testing.T) map[string]string {
	t.Helper()
	_, text, _ := f.get("/")
	got := map[string]string{}
	for _, p := range pairs.FindAllStringSubmatch(text, -1) {
		if _, ok := got[p[1]]; ok {
			t.Errorf("%s is in the page twice", p[1])
		}
		got[p[1]] = p[2]
	}
	return got
}

// TestPageFigures compares each figure of a daemon that is busy.
func TestPageFigures(t *testing.T) {
	f := start(t)
	for _, code := range []int{550, 550, 552, 551, 250, 450} {
		f.Replied(smtp.Reply{Code: code})
	}
	f.Committed(3*time.Millisecond, 9)
	f.Committed(6*time.Millisecond, 2)
	f.redis.Store(true)
	want := map[string]string{
		"now": "0", "at most": "0", "sessions": "3 of 500", "store": "mysql, up since 2023-11-14 22:13:20 UTC", "Redis": "up",
		"mails that wait for the store": "8", "mails stored": "7", "rows": "9",
		"a transaction takes, on average": "4.5 ms", "and has rows": "5.5",
		"no room": "2", "too many from one address": "5", "PROXY header": "11", "store away": "16", "store refuses": "17",
		"refused for good": "18", "outcome unknown": "19", "550, no such domain": "2", "552, too big": "1",
	}
	if got := f.shown(t); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// TestPageOfNewDaemon: what has not happened yet is not in the page.
func TestPageOfNewDaemon(t *testing.T) {
	f := newFixture()
	f.down.Store(true)
	f.config.RedisUp = nil
	want := map[string]string{
		"now": "0", "at most": "0", "sessions": "0 of 500", "store": "mysql, down since 2023-11-14 22:13:20 UTC",
		"mails that wait for the store": "0", "mails stored": "0", "rows": "0",
		"a transaction takes, on average": "–", "and has rows": "–",
	}
	if got := f.shown(t); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	_, text, _ := f.get("/")
	for _, figure := range []string{"NaN", "Turned away", "refused"} {
		if strings.Contains(text, figure) {
			t.Errorf("%q is in the page:\n%s", figure, text)
		}
	}
	if strings.Count(text, ",100.0 ") != 120 || !strings.Contains(text, `points="0,100.0 5,100.0 `) || !strings.Contains(text, `600,100.0 "`) {
		t.Errorf("not a straight line:\n%s", text)
	}
}

// TestPageReload: the page shows when the configuration was read, and that the
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
			if _, text, _ := f.get("/"); !strings.Contains(text, "configuration of "+step.want) {
				t.Errorf("%q is missing:\n%s", step.want, text)
			}
		}
	})
}

// TestPageHistory: the rates of the last ten minutes move through the page, one
// step each five seconds.
func TestPageHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		f.Start()
		defer f.Close()
		time.Sleep(time.Second) // between the samples
		step := func(mails uint64) {
			f.mails.Add(mails)
			time.Sleep(5 * time.Second)
			synctest.Wait()
		}
		want := func(now, peak string, points ...string) {
			t.Helper()
			_, text, _ := f.get("/")
			if got := f.shown(t); got["now"] != now || got["at most"] != peak ||
				!strings.Contains(text, fmt.Sprintf(`aria-label="now %s, at most %s mails per second"`, now, peak)) {
				t.Errorf("now %s, at most %s; want %s and %s", got["now"], got["at most"], now, peak)
			}
			for _, p := range points {
				if !strings.Contains(text, p) {
					t.Errorf("%q is missing:\n%s", p, text)
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
