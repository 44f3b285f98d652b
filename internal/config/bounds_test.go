package config_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"goguerrillad/internal/config"
)

// parseOne returns the error of a configuration with one value to test.
func parseOne(t *testing.T, key, value string) error {
	t.Helper()
	text, err := json.Marshal(map[string]string{"MYSQL_HOST": "/s", "MYSQL_DB": "d", key: value})
	if err != nil {
		t.Fatal(err)
	}
	_, err = config.Parse("f", text, newWorld().env())
	return err
}

// TestBounds gives each key with a bound the last value that fits and the next
// one, which is refused for its problem.
func TestBounds(t *testing.T) {
	text := func(n int) string { return strings.Repeat("a", n) }
	// domain returns a name of n bytes, in labels of 40 bytes and a rest.
	domain := func(n int) string { return strings.Repeat(text(40)+".", n/41) + text(n%41) }
	number := strconv.Itoa
	for _, tt := range []struct {
		key           string
		value         func(n int) string
		least, most   int
		under, beyond string
	}{
		{"GSMTP_TIMEOUT", number, 1, 86400, "is too small", "is too large"},
		{"GSMTP_MAX_SIZE", number, 1, 1 << 30, "is too small", "is too large"},
		{"GM_MAX_CLIENTS", number, 1, 1_000_000, "is too small", "is too large"},
		{"GM_MAX_CLIENTS_PER_IP", number, 0, 1_000_000, "is not a whole number", "is too large"},
		{"GM_RECIPIENT_CACHE_SECONDS", number, 0, 86400, "is not a whole number", "is too large"},
		{"REDIS_DB", number, 0, 1<<31 - 1, "is not a whole number", "is too large"},
		{"REDIS_EXPIRE_SECONDS", number, 1, 1<<31 - 1, "is too small", "is too large"},
		{"GSTMP_LISTEN_INTERFACE", func(n int) string { return "127.0.0.1:" + number(n) }, 0, 65535, "no port from 0 to 65535", "no port from 0 to 65535"},
		{"MYSQL_HOST", func(n int) string { return "db:" + number(n) }, 1, 65535, "no port from 1 to 65535", "no port from 1 to 65535"},
		{"MYSQL_HOST", func(n int) string { return "/" + text(n-1) }, 2, 107, "", "is too long for a socket"},
		{"MYSQL_DB", text, 1, 64, "", "is too long"},
		{"MYSQL_DB", func(n int) string { return strings.Repeat("ü", n) }, 1, 64, "", "is too long"},
		{"GM_MAIL_TABLE", text, 1, 64, "", "is too long"},
		{"GM_MAIL_TABLE", func(n int) string { return text(64) + "." + text(n) }, 1, 64, "has an empty name", "is too long"},
		{"GSMTP_HOST_NAME", domain, 1, 255, "", "it has more than 255 bytes"},
		{"GM_ALLOWED_HOSTS", domain, 1, 255, "", "it has more than 255 bytes"},
		{"GM_ALLOWED_HOSTS", text, 1, 63, "", "a label of more than 63 bytes"},
	} {
		for _, c := range []struct {
			n    int
			want string
		}{{tt.least, ""}, {tt.most, ""}, {tt.least - 1, tt.under}, {tt.most + 1, tt.beyond}} {
			if c.n < tt.least && tt.under == "" {
				continue // an empty value is the default
			}
			if err := parseOne(t, tt.key, tt.value(c.n)); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s of %d: got %v, want %q", tt.key, c.n, err, c.want)
			}
		}
	}
}

// TestCharacters has the ends of each range that a name may consist of, and the
// characters next to them.
func TestCharacters(t *testing.T) {
	for _, tt := range []struct{ key, good, bad string }{
		{"GM_MAIL_TABLE", "azAZ09_$", "`{@[/:-#% \u00aa\u0660"},
		{"GSMTP_HOST_NAME", "azAZ09_", "`{@[/:$^ "},
	} {
		for _, c := range []struct{ of, problem string }{{tt.good, ""}, {tt.bad, "has a character that "}} {
			for _, r := range c.of {
				if err := parseOne(t, tt.key, "x"+string(r)+"x"); (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
					t.Errorf("%s with %q: got %v, want %q", tt.key, r, err, c.problem)
				}
			}
		}
	}
}
