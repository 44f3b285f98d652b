package stores_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/stores"
	"goguerrillad/internal/test"
)

// parse parses a configuration on a machine with a state directory.
func parse(t *testing.T, state, text string) *stores.Configuration {
	t.Helper()
	c, err := stores.Parse("f", []byte(text), test.Environment(map[string]string{"STATE_DIRECTORY": state}, nil))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return c
}

const mysqlKeys = `"MYSQL_HOST": "127.0.0.1:1", "MYSQL_DB": "d"`

// TestOpen: each store has its number of writers, and uses Redis only if REDIS_HOST is
// set and the store keeps messages.
func TestOpen(t *testing.T) {
	for _, tt := range []struct {
		text           string
		writers, extra int
		redis          bool
	}{
		{`{` + mysqlKeys + `}`, 2, 0, false},
		{`{` + mysqlKeys + `, "REDIS_HOST": "127.0.0.9:1"}`, 2, 0, true},
		{`{"MYSQL_HOST": "127.0.0.1:1,127.0.0.2:1", "MYSQL_DB": "d"}`, 2, 2, false},
		{`{}`, 0, 0, false},
		{`{"GM_SAVE_MAIL": "sqlite"}`, 0, 0, false},
		{`{"GM_SAVE_MAIL": "maildir"}`, 4, 0, false},
		{`{"GM_SAVE_MAIL": "webhook", "WEBHOOK_URL": "https://hooks.example.com/"}`, 16, 0, false},
		{`{"GM_SAVE_MAIL": "discard", "REDIS_HOST": "127.0.0.9:1"}`, 0, 0, false},
	} {
		s, err := parse(t, t.TempDir(), tt.text).Open("1.0.0", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if s.Options.Writers != tt.writers || s.Options.ExtraWriters != tt.extra {
			t.Errorf("%s: %d writers and %d extra writers, want %d and %d", tt.text, s.Options.Writers, s.Options.ExtraWriters, tt.writers, tt.extra)
		}
		if redis := s.RedisUp() != nil; redis != tt.redis {
			t.Errorf("%s: uses Redis: %v, want %v", tt.text, redis, tt.redis)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: %v", tt.text, err)
		}
	}
}

// TestNoReader: the error of OpenReader names the key if the store keeps no messages.
func TestNoReader(t *testing.T) {
	for _, store := range []string{"discard", "webhook"} {
		for _, redis := range []string{"", "127.0.0.9:1"} {
			c := parse(t, "", `{"GM_SAVE_MAIL": "`+store+`", "WEBHOOK_URL": "https://hooks.example.com/", "REDIS_HOST": "`+redis+`"}`)
			want := "GM_SAVE_MAIL is " + store + ": the store keeps no messages that could be read"
			if _, err := c.OpenReader(); err == nil || err.Error() != want {
				t.Errorf("%s, Redis %q: %v, want %s", store, redis, err, want)
			}
		}
	}
}

// TestReadRedis: a reader uses Redis only if REDIS_HOST is set.
func TestReadRedis(t *testing.T) {
	for host, want := range map[string]string{"": "*maildir.Reader", "127.0.0.9:1": "*redis.reader"} {
		state := t.TempDir()
		if err := os.MkdirAll(filepath.Join(state, "Maildir", "new"), 0o700); err != nil {
			t.Fatal(err)
		}
		r, err := parse(t, state+":/other", `{"GM_SAVE_MAIL": "maildir", "REDIS_HOST": "`+host+`"}`).OpenReader()
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%T", r); got != want {
			t.Errorf("REDIS_HOST %q: the reader is a %s, want %s", host, got, want)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestTimeout: the timeout of a Save is nine tenths of GSMTP_TIMEOUT, at most 90 s.
func TestTimeout(t *testing.T) {
	for timeout, want := range map[string]time.Duration{
		"1": 900 * time.Millisecond, "60": 54 * time.Second, "100": 90 * time.Second, "3600": 90 * time.Second,
	} {
		s, err := parse(t, "", `{"GM_SAVE_MAIL": "discard", "GSMTP_TIMEOUT": "`+timeout+`"}`).Open("", slog.New(slog.DiscardHandler))
		if err != nil || s.Options.Timeout != want {
			t.Errorf("GSMTP_TIMEOUT %s: Timeout is %v, error %v, want %v", timeout, s.Options.Timeout, err, want)
		}
	}
}

// TestDescriptors: Descriptors returns the sum for the store, the query and Redis.
func TestDescriptors(t *testing.T) {
	const query = `, "GM_RECIPIENT_QUERY": "SELECT :address"`
	for text, want := range map[string]int{
		`"GM_SAVE_MAIL": "discard", "REDIS_HOST": "127.0.0.9:1"`:                 0,
		`"GM_SAVE_MAIL": "sqlite"`:                                               16,
		`"GM_SAVE_MAIL": "sqlite", "REDIS_HOST": "127.0.0.9:1"`:                  16 + 20,
		`"GM_SAVE_MAIL": "sqlite"` + query:                                       16 + 16,
		mysqlKeys:                                                                12 + 2,
		mysqlKeys + query:                                                        12 + 2 + 8,
		`"MYSQL_HOST": "a:1,b:1,c:1", "MYSQL_DB": "d"`:                           3*12 + 2,
		`"MYSQL_HOST": "a:1,b:1,c:1", "MYSQL_DB": "d"` + query:                   3*(12+8) + 2,
		`"GM_SAVE_MAIL": "maildir"`:                                              22,
		`"GM_SAVE_MAIL": "webhook", "WEBHOOK_URL": "https://hooks.example.com/"`: 34,
		`"GM_SAVE_MAIL": "webhook", "WEBHOOK_URL": "https://hooks.example.com/", "REDIS_STREAM": "s", "REDIS_HOST": "127.0.0.9:1"`: 34 + 38,
	} {
		if got := parse(t, "", "{"+text+"}").Descriptors(); got != want {
			t.Errorf("%s: %d descriptors, want %d", text, got, want)
		}
	}
}

// TestRecipients: the query is parsed in the dialect of the store.
func TestRecipients(t *testing.T) {
	for _, c := range []struct {
		text, sql string
		cache     time.Duration
	}{
		{`{"GM_RECIPIENT_QUERY": "SELECT '\\\\' FROM t WHERE a=:address", "GM_RECIPIENT_CACHE_SECONDS": "0"}`, // a backslash escapes nothing in SQLite
			`SELECT '\\' FROM t WHERE a=?`, 0},
		{`{"GM_RECIPIENT_QUERY": "SELECT '\\\\', ':x' FROM t WHERE d=:domain;", ` + mysqlKeys + `}`,
			`SELECT '\\', ':x' FROM t WHERE d=?`, time.Minute},
	} {
		r := parse(t, "", c.text).Recipients
		if r.Query == nil || r.Query.SQL != c.sql {
			t.Errorf("%s: Query is %+v, want %s", c.text, r.Query, c.sql)
		}
		if r.Cache != c.cache {
			t.Errorf("%s: Cache is %v, want %v", c.text, r.Cache, c.cache)
		}
	}
	if r := parse(t, "", "{}").Recipients; r.Query != nil {
		t.Errorf("without GM_RECIPIENT_QUERY: Query is %+v, want nil", r.Query)
	}
}

// TestStateDirectory: the stores keep their files in the first state directory, or
// without one in the working directory.
func TestStateDirectory(t *testing.T) {
	for store, file := range map[string]string{"sqlite": "mail.db", "maildir": "Maildir"} {
		for _, state := range []string{"", filepath.Join(t.TempDir(), "state")} {
			dir := t.TempDir()
			t.Chdir(dir)
			if state != "" {
				dir, state = state, state+":/other"
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			s, err := parse(t, state, `{"GM_SAVE_MAIL": "`+store+`"}`).Open("", slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			s.Save(t.Context(), []*envelope.Envelope{{}})
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
				t.Errorf("%s, STATE_DIRECTORY %q: %v", store, state, err)
			}
		}
	}
}
