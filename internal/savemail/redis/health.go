package redis

import (
	"errors"
	"log/slog"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// health logs each change of the server's state once. client.mu guards it.
type health struct {
	log     *slog.Logger
	mode    string
	healthy bool
	since   time.Time // set when healthy becomes false
}

func (h *health) setHealthy() {
	if !h.healthy {
		h.log.Info("Redis available again", "after", time.Since(h.since).Round(time.Millisecond))
		h.healthy = true
	}
}

func (h *health) setUnhealthy(reason error) {
	if !h.healthy {
		return
	}
	h.healthy, h.since = false, time.Now()
	h.log.Warn("Redis unavailable", "mode", h.mode, "reason", reason)
}

// Up reports whether Redis is available: whether it executed the commands of the
// last pipeline, or the last probe succeeded, whichever was later.
func (s *Store) Up() bool {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.client.health.healthy
}

// inspect sends a PING and reads the settings of the server. It logs once each
// setting with which Redis can lose messages, and skips settings for which it has
// no permission.
func (c *client) inspect(conn *connection) error {
	if _, err := conn.Do("PING"); err != nil {
		return err
	}
	memory, err := conn.info("memory")
	if err != nil {
		return err
	}
	if policy := memory["maxmemory_policy"]; policy != "" && policy != "noeviction" {
		c.warn("Redis may evict messages before they expire",
			"maxmemory_policy", policy, "maxmemory", memory["maxmemory_human"])
	}
	persistence, err := conn.info("persistence")
	if err != nil {
		return err
	}
	setting := "save"
	if persistence["aof_enabled"] == "1" {
		setting = "appendfsync"
	}
	values, err := redigo.Strings(conn.Do("CONFIG", "GET", setting))
	if err != nil || len(values) != 2 {
		if isErrorReply(err) {
			err = nil
		}
		return err
	}
	switch value := values[1]; {
	case setting == "appendfsync" && value != "always":
		c.warn("Redis may lose the latest messages in a crash of the machine", "appendfsync", value)
	case setting == "save" && value == "":
		c.warn("Redis loses all messages when it stops", "appendonly", "no", "save", value)
	case setting == "save":
		c.warn("Redis may lose the messages since its last snapshot in a crash", "appendonly", "no", "save", value)
	}
	return nil
}

// info returns a section of INFO. It is empty if the user may not run INFO.
func (c *connection) info(section string) (map[string]string, error) {
	text, err := redigo.String(c.Do("INFO", section))
	if err != nil && !isErrorReply(err) {
		return nil, err
	}
	values := make(map[string]string)
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			values[key] = value
		}
	}
	return values, nil
}

// isErrorReply reports whether err is an error reply of Redis.
func isErrorReply(err error) bool {
	_, ok := errors.AsType[redigo.Error](err)
	return ok
}

// warn logs a message once. The level is Warn with InPlace, since the messages are
// only in Redis, otherwise Info.
func (c *client) warn(message string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.warned[message] {
		return
	}
	c.warned[message] = true
	level := slog.LevelInfo
	if c.options.InPlace {
		level = slog.LevelWarn
	}
	c.options.Log.Log(c.ctx, level, message, args...)
}
