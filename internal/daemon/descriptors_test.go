package daemon

import (
	"testing"

	"goguerrillad/internal/config"
	"goguerrillad/internal/smtpd"
	"goguerrillad/internal/stores"
)

// parseConfig parses a configuration with the given keys.
func parseConfig(t *testing.T, keys string) *stores.Configuration {
	t.Helper()
	cfg, err := stores.Parse("f", []byte("{"+keys+"}"), config.Machine())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestLimitClients: the connection limits of all servers and the reserve together do
// not exceed RLIMIT_NOFILE, unless it is too low for two sessions.
func TestLimitClients(t *testing.T) {
	for _, store := range []string{`"MYSQL_HOST": "127.0.0.1:1", "MYSQL_DB": "d"`, `"GM_SAVE_MAIL": "discard"`} {
		for _, http := range []int{0, 1, 2} {
			cfg := parseConfig(t, store)
			cfg.AuthHTTP.Enabled = http > 0
			if http > 1 {
				cfg.Metrics = "127.0.0.1:9100"
			}
			reserve := reservedDescriptors(cfg)
			for descriptors := range 3000 {
				l := limitClients(cfg, descriptors)
				if l.smtp < 1 || l.http < 1 || l.smtp > 500 || l.http > 500 || (l.warning != "") != (l.smtp < 500) {
					t.Fatalf("%s, %d descriptors: %+v", store, descriptors, l)
				}
				if used := reserve + l.smtp + http*l.http; used > descriptors && l.smtp > 1 {
					t.Fatalf("%s, %d HTTP servers: the limits and the reserve are %d, RLIMIT_NOFILE is %d", store, http, used, descriptors)
				}
				if descriptors >= reserve+500*(1+http) && (l.smtp < 500 || l.http < 500) {
					t.Fatalf("%s, %d descriptors are enough: %+v, want limits of 500", store, descriptors, l)
				}
			}
		}
	}
}

// TestLimitClientsScarce: if descriptors are scarce, an HTTP server gets an eighth of
// the descriptors for clients.
func TestLimitClientsScarce(t *testing.T) {
	for _, tt := range []struct {
		auth       bool
		metrics    string
		room       int // descriptors for clients
		smtp, http int
	}{
		{false, "", 400, 400, 50},
		{true, "", 400, 350, 50},
		{true, "127.0.0.1:9100", 400, 300, 50},
		{true, "127.0.0.1:9100", 407, 307, 50},
		{true, "127.0.0.1:9100", 408, 306, 51},
		{false, "127.0.0.1:9100", 999, 500, 124},
		{false, "127.0.0.1:9100", 1000, 500, 500},
		{true, "127.0.0.1:9100", 1499, 500, 187},
		{true, "127.0.0.1:9100", 1500, 500, 500},
	} {
		cfg := parseConfig(t, `"GM_SAVE_MAIL": "discard"`)
		cfg.Metrics = tt.metrics
		cfg.AuthHTTP.Enabled = tt.auth
		if l := limitClients(cfg, reservedDescriptors(cfg)+tt.room); l.smtp != tt.smtp || l.http != tt.http {
			t.Errorf("%+v: limits of %d sessions and %d HTTP connections", tt, l.smtp, l.http)
		}
	}
}

// TestReservedDescriptors: the reserve counts each part of a configuration, and counts
// it twice if a reload opens the new descriptors before it closes the old ones.
func TestReservedDescriptors(t *testing.T) {
	base := 16 + 3*smtpd.DefaultLoops() + 2
	for _, tt := range []struct {
		name   string
		change func(*stores.Configuration)
		extra  int // additional descriptors
	}{
		{"no change", func(*stores.Configuration) {}, 0},
		{"three addresses", func(c *stores.Configuration) { c.Listen = []string{":25", ":26", ":27"} }, 4},
		{"auth_http", func(c *stores.Configuration) { c.AuthHTTP.Enabled = true }, 4},
		{"metrics", func(c *stores.Configuration) { c.Metrics = "127.0.0.1:9100" }, 4},
		{"store", func(c *stores.Configuration) { *c = *parseConfig(t, `"GM_SAVE_MAIL": "maildir"`) }, 22},
	} {
		cfg := parseConfig(t, `"GM_SAVE_MAIL": "discard"`)
		tt.change(cfg)
		if got := reservedDescriptors(cfg) - base; got != tt.extra {
			t.Errorf("%s: %d extra descriptors, want %d", tt.name, got, tt.extra)
		}
	}
}
