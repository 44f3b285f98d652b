package main

import (
	"log/slog"
	"net/netip"
	"testing"

	"goguerrillad/internal/config"
	"goguerrillad/internal/listen"
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
