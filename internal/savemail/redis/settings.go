package redis

import (
	"log/slog"
	"math"

	"goguerrillad/internal/config"
	"goguerrillad/internal/savemail"
)

// The values of REDIS_MODE.
const (
	modeCache = "cache" // Redis has a copy
	modeStore = "store" // Redis has the message in place of the column mail
)

// Settings are the values of the keys REDIS_* in one configuration.
type Settings struct {
	o    Options
	mode string
}

// Enabled reports whether REDIS_HOST is set.
func (s *Settings) Enabled() bool { return s.o.Host != "" }

// Keys returns the keys. Their Set functions store the values in s.
func (s *Settings) Keys() []config.Key {
	return []config.Key{
		{Name: "REDIS_HOST", Derived: "none",
			Doc: "host:port or /path/to.sock of Redis",
			Set: func(_ *config.Draft, v string) error { return config.Into(&s.o.Host, v, config.Server) }},
		{Name: "REDIS_PASS", Derived: "the systemd credential redis_pass, else none", Secret: true,
			Doc: "password of Redis",
			Set: func(_ *config.Draft, v string) error { return config.Into(&s.o.Pass, v, config.AnyText) }},
		{Name: "REDIS_DB", Default: "0",
			Doc: "number of the database in Redis",
			Set: func(_ *config.Draft, v string) error {
				return config.Into(&s.o.DB, v, config.Int("numbers", 0, math.MaxInt32))
			}},
		{Name: "REDIS_MODE", Default: modeCache,
			Doc: "cache: Redis has a copy; store: only Redis has the message, which is lost if Redis fails or the time is up",
			Set: func(_ *config.Draft, v string) error {
				return config.Into(&s.mode, v, config.OneOf(modeCache, modeStore))
			}},
		{Name: "REDIS_EXPIRE_SECONDS", Default: "3600",
			Doc: "seconds that a message stays in Redis",
			Set: func(_ *config.Draft, v string) error {
				return config.Into(&s.o.Expire, v, config.Seconds(1, math.MaxInt32))
			}},
		{Name: "REDIS_STREAM", Derived: "none",
			Doc: "Redis stream that gets an entry for each row, after the commit",
			Set: func(_ *config.Draft, v string) error { return config.Into(&s.o.Stream, v, config.Text) }},
		{Name: "REDIS_STREAM_MAXLEN", Default: "100000",
			Doc: "approximate number of entries that the stream keeps",
			Set: func(_ *config.Draft, v string) error {
				return config.Into(&s.o.StreamMax, v, config.Number("entries", 1, math.MaxInt32))
			}},
	}
}

// Check reads the password and checks that the store can be combined with Redis.
func (s *Settings) Check(c *config.Draft, store savemail.Driver) error {
	if err := c.Credential("REDIS_PASS", "redis_pass", &s.o.Pass); err != nil {
		return err
	}
	switch {
	case !s.Enabled():
		if s.mode == modeStore || c.Given("REDIS_PASS") || s.o.Stream != "" {
			c.Warn("REDIS_MODE=store, REDIS_PASS or REDIS_STREAM is set without REDIS_HOST: Redis gets no messages")
		}
	case store.Discard:
		c.Warn("GM_SAVE_MAIL is " + store.Name + ": the Redis of REDIS_HOST gets no messages either")
	case !store.Table && s.mode == modeStore:
		return c.Invalid("REDIS_MODE", "is not possible with GM_SAVE_MAIL="+store.Name, "want cache")
	}
	return nil
}

// Descriptors returns the number of file descriptors that the connections of the old
// and the new store need during a reload: one for each Save in progress, the prober and
// the stream. A Save needs at least one descriptor of the inner store, so inner, the
// number of these, limits the number of Saves.
func (*Settings) Descriptors(inner int) int { return inner + 4 }

// Options returns the options of the store and of the reader.
func (s *Settings) Options(c *config.Config, log *slog.Logger) Options {
	o := s.o
	o.InPlace, o.Compress, o.Log = s.mode == modeStore, c.Compress, log
	return o
}
