// Package stores is the list of all stores. It adds their keys to the configuration
// and opens the store that GM_SAVE_MAIL selects.
package stores

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/discard"
	"goguerrillad/internal/savemail/maildir"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/savemail/postgres"
	"goguerrillad/internal/savemail/redis"
	"goguerrillad/internal/savemail/sqlite"
	"goguerrillad/internal/savemail/webhook"
	"goguerrillad/internal/smtp"
)

// drivers returns new drivers for one configuration, in the order in which errors
// list the stores. To add a store, add its driver here.
func drivers() []savemail.Driver {
	return []savemail.Driver{
		postgres.Driver(),
		mysql.Driver(),
		sqlite.Driver(),
		maildir.Driver(),
		webhook.Driver(),
		discard.Driver(),
	}
}

// fallback is the store if neither GM_SAVE_MAIL nor another key selects one.
const fallback = "sqlite"

// Store is an open store.
type Store struct {
	savemail.Store
	Options    commit.Options                   // for the Committer; the caller adds Committed
	Fits       func(address string) *smtp.Reply // nil if every recipient fits
	Recipients recipient.Source                 // nil without GM_RECIPIENT_QUERY
}

// Close closes a store that no Committer uses.
func (s Store) Close() error {
	var err error
	if s.Recipients != nil {
		err = s.Recipients.Close()
	}
	return errors.Join(err, s.Store.Close())
}

// RedisUp returns a function that reports whether Redis is available, or nil if the
// store does not use Redis.
func (s Store) RedisUp() func() bool {
	if r, ok := s.Store.(interface{ Up() bool }); ok {
		return r.Up
	}
	return nil
}

// Open opens the store. version is the daemon's version. An unavailable
// database is not an error.
func (c *Configuration) Open(version string, log *slog.Logger) (Store, error) {
	setup := c.setup(version, log)
	opened, err := c.driver.Open(setup)
	if err != nil {
		return Store{}, err
	}
	if c.query != "" && opened.Recipients == nil {
		if opened.Recipients, err = c.asked.Query.Open(setup); err != nil {
			return Store{}, errors.Join(err, opened.Store.Close())
		}
	}
	s := Store{
		Store: opened.Store,
		Options: commit.Options{
			Writers: opened.Writers, ExtraWriters: opened.ExtraWriters, MinBatch: opened.MinBatch,
			MaxRows: opened.MaxRows, MaxBytes: opened.MaxBytes, Timeout: c.saveTimeout(), Log: log,
			Keep: c.Keep, MinFree: c.MinFree,
		},
		Fits:       opened.Fits,
		Recipients: opened.Recipients,
	}
	if c.usesRedis() {
		s.Store = redis.New(s.Store, c.redis.Options(c.Config, log))
	}
	return s, nil
}

// Peer is Peer of the store's driver.
func (c *Configuration) Peer() bool { return c.driver.Peer }

// OpenReader opens the store for -list and -show.
func (c *Configuration) OpenReader() (savemail.Reader, error) {
	if c.driver.OpenReader == nil {
		return nil, fmt.Errorf("GM_SAVE_MAIL is %s: the store keeps no messages that could be read", c.driver.Name)
	}
	log := slog.New(slog.DiscardHandler)
	r, err := c.driver.OpenReader(c.setup("", log))
	if err != nil {
		return nil, err
	}
	if c.usesRedis() {
		r = redis.NewReader(r, c.redis.Options(c.Config, log))
	}
	return r, nil
}

// TryQuery runs GM_RECIPIENT_QUERY once for the postmaster, if the key is set. The
// error is recipient.ErrInvalid if the query is wrong.
func (c *Configuration) TryQuery(ctx context.Context) error {
	if c.Recipients.Query == nil {
		return nil
	}
	setup := c.setup("", slog.New(slog.DiscardHandler))
	domain := c.Hosts.Example(c.PrimaryHost)
	return c.asked.Query.Try(ctx, setup, "postmaster@"+domain, domain)
}

// A Path is a file or directory that the configuration names.
type Path struct {
	Key, Path string
	Write     bool // the daemon writes it
}

// Paths returns the paths that the daemon opens, without credentials.
func (c *Configuration) Paths() []Path {
	paths := []Path{{"GSMTP_LOG_FILE", c.LogFile, true}}
	for i := range c.KeyFiles {
		if c.Value("GSMTP_PRV_KEY") == "" { // a credential
			break
		}
		paths = append(paths, Path{"GSMTP_PRV_KEY", c.KeyFiles[i], false}, Path{"GSMTP_PUB_KEY", c.CertFiles[i], false})
	}
	switch c.SaveMail {
	case "sqlite":
		paths = append(paths, Path{"SQLITE_FILE", c.Value("SQLITE_FILE"), true})
	case "maildir":
		paths = append(paths, Path{"GM_MAILDIR", c.Value("GM_MAILDIR"), true})
	}
	return paths
}

// Inspect checks the store and Redis as savemail.Driver.Inspect does, with savemail.Sample if
// sample is set.
func (c *Configuration) Inspect(ctx context.Context, sample bool) (warnings []string, err error) {
	if c.driver.Inspect != nil {
		setup := c.setup("", slog.New(slog.DiscardHandler))
		if sample {
			setup.Sample = savemail.Sample(c.Config)
		}
		warnings, err = c.driver.Inspect(ctx, setup)
	}
	if c.driver.Files != nil && err == nil {
		if free, freeErr := savemail.FreeSpace(c.driver.Files()); freeErr == nil && free < c.MinFree {
			warnings = append(warnings, "too little disk space: "+(&savemail.FullError{Free: free, Min: c.MinFree}).Error())
		}
	}
	if c.usesRedis() {
		warnings = append(warnings, c.redis.Inspect(ctx, c.Config)...)
	}
	return warnings, err
}

// Descriptors returns how many file descriptors the store, the recipient query and
// Redis need. It counts twice what a reload opens before it closes the old store.
func (c *Configuration) Descriptors() int {
	store := c.driver.Descriptors()
	n := store
	if c.Recipients.Query != nil {
		n += c.asked.Query.Descriptors()
	}
	if c.usesRedis() {
		n += c.redis.Descriptors(store)
	}
	return n
}

func (c *Configuration) usesRedis() bool { return c.redis.Enabled() && !c.driver.Discard }

func (c *Configuration) setup(version string, log *slog.Logger) savemail.Setup {
	return savemail.Setup{Config: c.Config, Query: c.Recipients.Query, Timeout: c.saveTimeout(), Version: version, Keep: c.Keep, Log: log}
}

// saveTimeout returns nine tenths of GSMTP_TIMEOUT, at most 90 s, so that the reply
// arrives before the client's timeout.
func (c *Configuration) saveTimeout() time.Duration {
	return min(c.Timeout, 100*time.Second) * 9 / 10
}
