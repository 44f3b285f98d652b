package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"goguerrillad/internal/config"
	"goguerrillad/internal/stores"
)

// expectValid checks whether a configuration with the key and the other keys is valid.
func expectValid(t *testing.T, key, value, others string, want bool) {
	t.Helper()
	text := fmt.Sprintf("{%q: %q", key, value)
	if others != "" {
		text += ", " + others
	}
	if _, err := stores.Parse("f", []byte(text+"}"), newMachine().env()); (err == nil) != want {
		t.Errorf("%s is %q: error %v, want an error: %v", key, value, err, !want)
	}
}

// TestNumberBounds: the least and the greatest number of a key are accepted, and
// the numbers below and above them are not.
func TestNumberBounds(t *testing.T) {
	for _, c := range []struct {
		key, before string
		least, most int
		others      string
	}{
		{"GSMTP_TIMEOUT", "", 1, 86400, ""},
		{"GSMTP_MAX_SIZE", "", 1, 1 << 30, ""},
		{"GM_MAX_CLIENTS", "", 1, 1_000_000, ""},
		{"GM_MAX_CLIENTS_PER_IP", "", 0, 1_000_000, ""},
		{"GSMTP_MEMORY", "", 4, 1 << 40, `"GSMTP_MAX_SIZE": "1"`},
		{"GM_RECIPIENT_CACHE_SECONDS", "", 0, 86400, ""},
		{"GM_KEEP_HOURS", "", 1, 1_000_000, ""},
		{"GM_MIN_FREE", "", 0, 1 << 50, ""},
		{"REDIS_DB", "", 0, 1<<31 - 1, ""},
		{"REDIS_EXPIRE_SECONDS", "", 1, 1<<31 - 1, ""},
		{"REDIS_STREAM_MAXLEN", "", 1, 1<<31 - 1, ""},
		{"GUID", "", 1, 1<<32 - 2, `"SGID": "508"`},
		{"SGID", "", 1, 1<<32 - 2, `"GUID": "504"`},
		{"GSTMP_LISTEN_INTERFACE", "127.0.0.1:", 0, 65535, ""},
		{"GM_METRICS", "[::1]:", 0, 65535, ""},
		{"NGINX_AUTH_BACKENDS", "192.0.2.1:", 1, 65535, ""},
		{"REDIS_HOST", "redis.example.com:", 1, 65535, ""},
		{"MYSQL_HOST", "db.example.com:", 1, 65535, `"MYSQL_DB": "d"`},
		{"GSMTP_TRUSTED_PROXIES", "0.0.0.0/", 0, 32, ""},
		{"GSMTP_TRUSTED_PROXIES", "::/", 0, 128, ""},
	} {
		for n, want := range map[int]bool{c.least - 1: false, c.least: true, c.most: true, c.most + 1: false} {
			expectValid(t, c.key, c.before+strconv.Itoa(n), c.others, want)
		}
	}
}

// TestLengthBounds: the longest value of a key is accepted, and a value with one
// more letter is not.
func TestLengthBounds(t *testing.T) {
	for _, c := range []struct {
		key, before, letter, after string
		most                       int // letters
		others                     string
	}{
		{"MYSQL_HOST", "/", "a", "", 106, `"MYSQL_DB": "d"`},
		{"MYSQL_DB", "", "ü", "", 64, ""},
		{"GM_MAIL_TABLE", "", "a", "", 64, ""},
		{"GM_MAIL_TABLE", "", "a", ".t", 64, `"MYSQL_HOST": "/s"`},
		{"GM_MAIL_TABLE", "d.", "a", "", 64, `"MYSQL_HOST": "/s"`},
		{"GSMTP_HOST_NAME", "", "a", "", 63, ""},
		{"GSMTP_HOST_NAME", "mx.", "a", ".example", 63, ""},
		{"GSMTP_HOST_NAME", strings.Repeat("label.", 40), "a", "", 15, ""},
		{"GM_ALLOWED_HOSTS", strings.Repeat("label.", 40), "a", ".", 15, ""},
	} {
		for n, want := range map[int]bool{1: true, c.most: true, c.most + 1: false} {
			expectValid(t, c.key, c.before+strings.Repeat(c.letter, n)+c.after, c.others, want)
		}
	}
}

// TestDomainLetters: a domain may contain no ASCII characters but letters, digits,
// hyphens, underscores and dots.
func TestDomainLetters(t *testing.T) {
	for c := range rune(128) {
		allowed := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.'
		expectValid(t, "GSMTP_HOST_NAME", "x"+string(c)+"y.example", "", allowed)
	}
}

// TestTablePrefix: the name of an SQLite table must not begin with sqlite_, in upper or
// lower case. The name of a MySQL table may.
func TestTablePrefix(t *testing.T) {
	for name, want := range map[string]bool{"sqlite": true, "sqlite_": false, "SQLite_": false, "SQLite_a": false, "sqlitea": true, "a_sqlite_": true} {
		expectValid(t, "GM_MAIL_TABLE", name, "", want)
		expectValid(t, "GM_MAIL_TABLE", name, `"MYSQL_HOST": "/s", "MYSQL_DB": "d"`, true)
	}
}

// TestQuotedLength: an error repeats at most 100 characters of a value.
func TestQuotedLength(t *testing.T) {
	for n, want := range map[int]string{99: "", 100: "", 101: "..."} {
		_, err := stores.Parse("f", []byte(`{"GSMTP_TIMEOUT": "`+strings.Repeat("ü", n)+`"}`), newMachine().env())
		if err == nil || !strings.Contains(err.Error(), `"`+strings.Repeat("ü", min(n, 100))+want+`" is not a whole number`) {
			t.Errorf("a value of %d characters: %v", n, err)
		}
	}
}

// TestFileBounds: a file of 1 MiB is read, and a larger file is refused.
func TestFileBounds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	for size, want := range map[int]bool{1 << 20: true, 1<<20 + 1: false} {
		text := `{"GSMTP_HOST_NAME": "mx.example.com"}`
		text += strings.Repeat(" ", size-len(text))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := stores.Load(file); (err == nil) != want {
			t.Errorf("a configuration of %d bytes: error %v, want an error: %v", size, err, !want)
		}
		if got, err := config.Machine().ReadFile(file); (err == nil) != want || want && string(got) != text {
			t.Errorf("a file of %d bytes: read %d bytes, error %v, want an error: %v", size, len(got), err, !want)
		}
	}
}
