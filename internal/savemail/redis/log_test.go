package redis_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"goguerrillad/internal/savemail/redis"
	"goguerrillad/internal/test"
)

// Log messages.
const (
	connected   = "connected to Redis"
	unavailable = "Redis unavailable"
	available   = "Redis available again"

	losesAll      = "Redis loses all messages when it stops"
	mayEvict      = "Redis may evict messages"
	losesLatest   = "Redis may lose the latest messages"
	losesSnapshot = "messages since its last snapshot"
)

// TestWarnings: at the start, the log reports the settings with which Redis can lose
// messages.
func TestWarnings(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server []string
		want   []string
	}{
		{"no persistence", nil, []string{losesAll}},
		{"snapshots", []string{"--save", "3600 1"}, []string{losesSnapshot}},
		{"append only", []string{"--appendonly", "yes"}, []string{losesLatest}},
		{"append only, synced", []string{"--appendonly", "yes", "--appendfsync", "always"}, nil},
		{"eviction", []string{"--appendonly", "yes", "--appendfsync", "always", "--maxmemory", "100mb", "--maxmemory-policy", "volatile-ttl"}, []string{mayEvict}},
		{"no persistence, eviction", []string{"--maxmemory-policy", "allkeys-lru"}, []string{losesAll, mayEvict}},
		{"CONFIG renamed", []string{"--rename-command", "CONFIG", ""}, nil},
		{"few rights", []string{"--user", "default", "on", "nopass", "~*", "+setex", "+del", "+ping"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, nil, tt.server...)
			f.awaitConnected()
			f.awaitStored()
			for _, warning := range []string{losesAll, mayEvict, losesLatest, losesSnapshot} {
				n := 0
				if slices.Contains(tt.want, warning) {
					n = 1
				}
				f.checkLog(warning, n)
			}
			f.checkLog(unavailable, 0)
		})
	}
}

// TestLogMessages: the log reports REDIS_MODE in an outage. The level of the
// warnings about settings depends on REDIS_MODE, and a new connection does not
// repeat the warnings.
func TestLogMessages(t *testing.T) {
	for _, tt := range []struct {
		inPlace          bool
		attribute, level string
	}{
		{true, "msg=\"Redis unavailable\" mode=store", "level=WARN"},
		{false, "msg=\"Redis unavailable\" mode=cache", "level=INFO"},
	} {
		f := start(t, func(o *redis.Options) { o.InPlace = tt.inPlace })
		f.awaitConnected()
		f.checkLog(tt.level+" msg=\""+losesAll, 1)
		f.server.Kill()
		test.Await(t, nil, 10*time.Second, "the log does not report the outage", func() error {
			f.save(1)
			if f.log.Count(unavailable) == 0 {
				return errors.New(f.log.String())
			}
			return nil
		})
		f.checkLog(tt.attribute, 1)
		if f.store.(interface{ Up() bool }).Up() {
			t.Error("Up returns true during the outage")
		}
		f.server.Start(t)
		test.Await(t, nil, 10*time.Second, "the log does not report the end of the outage", func() error {
			if f.log.Count(available) == 0 || !f.store.(interface{ Up() bool }).Up() {
				return errors.New(f.log.String())
			}
			return nil
		})
		f.checkLog(connected, 1)
		f.checkLog(losesAll, 1)
	}
}
