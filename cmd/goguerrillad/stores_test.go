package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/listen"
	"goguerrillad/internal/savemail"
)

// TestOpenStore: a writer that a server holds up is relieved if there is another
// server, and Redis is used only if it is configured.
func TestOpenStore(t *testing.T) {
	for _, tt := range []struct {
		name             string
		change           func(*config.Config)
		writers, reliefs int
		redis            bool
	}{
		{"one server", func(c *config.Config) { c.MySQL.Hosts = []string{"127.0.0.1:1"} }, 2, 0, false},
		{"two servers", func(c *config.Config) { c.MySQL.Hosts = []string{"127.0.0.1:1", "127.0.0.2:1"} }, 2, 2, false},
		{"three servers, spread", func(c *config.Config) {
			c.MySQL.Hosts, c.MySQL.Spread = []string{"127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1"}, true
		}, 3, 3, false},
		{"with Redis", func(c *config.Config) {
			c.MySQL.Hosts, c.Redis.Host = []string{"127.0.0.1:1"}, "127.0.0.9:1"
		}, 2, 0, true},
		{"a file", func(c *config.Config) { c.SaveMail = config.SaveSQLite }, 0, 0, false},
		{"files", func(c *config.Config) { c.SaveMail = config.SaveMaildir }, 4, 0, false},
		{"posts", func(c *config.Config) { c.SaveMail = config.SaveWebhook }, 16, 0, false},
		{"discarded, with Redis", func(c *config.Config) { c.SaveMail, c.Redis.Host = config.SaveDiscard, "127.0.0.9:1" }, 0, 0, false},
	} {
		cfg := &config.Config{SaveMail: config.SaveMySQL}
		tt.change(cfg)
		p, err := openStore(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if p.options.Writers != tt.writers || p.options.Reliefs != tt.reliefs {
			t.Errorf("%s: %d writers and %d reliefs, want %d and %d", tt.name, p.options.Writers, p.options.Reliefs, tt.writers, tt.reliefs)
		}
		if _, ok := p.Store.(interface{ Up() bool }); ok != tt.redis {
			t.Errorf("%s: the store is a %T", tt.name, p.Store)
		}
		if err := p.Close(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestNoStore: a configuration that names no store, or none that can be read, is an
// error that names the key.
func TestNoStore(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for store, want := range map[string]string{config.SaveMySQL: "MYSQL_HOST: no MySQL host is given", "other": `GM_SAVE_MAIL: no store "other"`} {
		if _, err := openStore(&config.Config{SaveMail: store}, log); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", store, err, want)
		}
	}
	for _, store := range []string{config.SaveDiscard, config.SaveWebhook} {
		for _, redis := range []string{"", "127.0.0.9:1"} {
			cfg := &config.Config{SaveMail: store}
			cfg.Redis.Host = redis
			if _, err := openReader(cfg); err == nil || err.Error() != "GM_SAVE_MAIL is "+store+": there is nothing to read" {
				t.Errorf("%s, Redis %q: %v", store, redis, err)
			}
		}
	}
}

// TestReadRedis: a reader looks into Redis only if it is configured.
func TestReadRedis(t *testing.T) {
	for host, want := range map[string]string{"": "*maildir.Reader", "127.0.0.9:1": "*redis.reader"} {
		cfg := &config.Config{SaveMail: config.SaveMaildir, Maildir: t.TempDir()}
		cfg.Redis.Host = host
		if err := os.Mkdir(filepath.Join(cfg.Maildir, "new"), 0o700); err != nil {
			t.Fatal(err)
		}
		r, err := openReader(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%T", r); got != want {
			t.Errorf("Redis %q: the reader is a %s, want %s", host, got, want)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSaveTime: a Save ends before the client does, which waits for GSMTP_TIMEOUT.
func TestSaveTime(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{
		time.Second: 900 * time.Millisecond, 60 * time.Second: 54 * time.Second, 100 * time.Second: 90 * time.Second, time.Hour: 90 * time.Second,
	} {
		p, err := openStore(&config.Config{SaveMail: config.SaveDiscard, Timeout: timeout}, slog.New(slog.DiscardHandler))
		if err != nil || p.options.Timeout != want {
			t.Errorf("GSMTP_TIMEOUT %v: %v, %v, want %v", timeout, p.options.Timeout, err, want)
		}
	}
}

// TestIsOutage: an error that concerns every message is logged once. A message whose
// outcome is unknown has its own line.
func TestIsOutage(t *testing.T) {
	for err, want := range map[error]bool{
		savemail.ErrUnavailable: true, fmt.Errorf("store: %w", savemail.ErrUnavailable): true,
		savemail.ErrUnknown: false, errors.Join(savemail.ErrUnavailable, savemail.ErrUnknown): false, errors.New("other"): false,
	} {
		if isOutage(err) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
}

// TestAuthBackends: the daemon watches the servers of the list only while auth_http
// has a socket.
func TestAuthBackends(t *testing.T) {
	d := &daemon{cfg: &config.Config{}}
	d.cfg.AuthHTTP.Backends = make([]netip.AddrPort, 2)
	for n, want := range []int{0, 2, 2} {
		if got := len(d.authSettings(make([]listen.Socket, n)).Backends); got != want {
			t.Errorf("%d sockets: %d servers, want %d", n, got, want)
		}
	}
}
