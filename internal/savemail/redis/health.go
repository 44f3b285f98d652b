package redis

import (
	"errors"
	"log/slog"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// health tells the log when Redis goes and when it returns, once each;
// client.mu guards it.
type health struct {
	log     *slog.Logger
	inPlace bool
	up      bool
	since   time.Time
}

func (h *health) rise() {
	if !h.up {
		h.log.Info("Redis is back", "after", time.Since(h.since).Round(time.Millisecond))
		h.up = true
	}
}

func (h *health) fall(reason error) {
	if !h.up {
		return
	}
	h.up, h.since = false, time.Now()
	text := "Redis is down: until it is back, it gets no copies of the mail"
	if h.inPlace {
		text = "Redis is down: until it is back, the table holds the messages"
	}
	h.log.Warn(text, "reason", reason)
}

// Up reports whether Redis answers, as far as is known.
func (s *Store) Up() bool {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.client.health.up
}

// inspect asks a Redis that has just been connected to whether it answers,
// and warns, once each, of settings with which it forgets. What it may not be
// asked is no reason to warn.
func (c *client) inspect(kn *conn) error {
	if _, err := kn.Do("PING"); err != nil {
		return err
	}
	memory, err := kn.info("memory")
	if err != nil {
		return err
	}
	if policy := memory["maxmemory_policy"]; policy != "" && policy != "noeviction" {
		c.warn("Redis may throw messages away before their time is up, when its memory is full: maxmemory-policy is not noeviction",
			"maxmemory_policy", policy, "maxmemory", memory["maxmemory_human"])
	}
	persistence, err := kn.info("persistence")
	if err != nil {
		return err
	}
	setting := "save"
	if persistence["aof_enabled"] == "1" {
		setting = "appendfsync"
	}
	values, err := redigo.Strings(kn.Do("CONFIG", "GET", setting))
	if err != nil || len(values) != 2 {
		if refused(err) {
			err = nil
		}
		return err
	}
	switch value := values[1]; {
	case setting == "appendfsync" && value != "always":
		c.warn("Redis may lose the messages of its last seconds in a crash of the machine: appendfsync is not always", "appendfsync", value)
	case setting == "save" && value == "":
		c.warn("Redis forgets all messages when it ends: it has neither save nor appendonly set")
	case setting == "save":
		c.warn("Redis loses the messages since its last snapshot in a crash: appendonly is not set", "save", value)
	}
	return nil
}

// info returns a section of INFO; it is empty when it may not be asked for.
func (kn *conn) info(section string) (map[string]string, error) {
	text, err := redigo.String(kn.Do("INFO", section))
	if err != nil && !refused(err) {
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

// refused reports whether Redis has answered with an error.
func refused(err error) bool {
	_, ok := errors.AsType[redigo.Error](err)
	return ok
}

// warn tells the operator what should be known, once: with InPlace it is
// about mail that lies nowhere else.
func (c *client) warn(text string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.warned[text] {
		return
	}
	c.warned[text] = true
	level := slog.LevelInfo
	if c.options.InPlace {
		level = slog.LevelWarn
	}
	c.options.Log.Log(c.life, level, text, args...)
}
