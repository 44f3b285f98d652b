package main

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/discard"
	"goguerrillad/internal/savemail/maildir"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/savemail/redis"
	"goguerrillad/internal/savemail/sqlite"
	"goguerrillad/internal/savemail/webhook"
	"goguerrillad/internal/smtp"
)

// place is a store with what is decided by its kind.
type place struct {
	savemail.Store
	options    savemail.Options
	fits       func(address string) *smtp.Reply // nil when every recipient does
	recipients recipient.Source                 // nil when nobody is asked about them
}

// Close closes what was never used.
func (p place) Close() error {
	var err error
	if p.recipients != nil {
		err = p.recipients.Close()
	}
	return errors.Join(err, p.Store.Close())
}

// Where batches stop to pay for MySQL, and where they begin to beside another.
const (
	mysqlBatch  = 300 << 10 // bytes
	mysqlEnough = 12        // mails
)

// maildirWriters is how many files are synced at a time.
const maildirWriters = 4

// openStore makes the store that the configuration names. A store of one's own
// gets its case here. It is not an error if the database is unavailable.
func openStore(cfg *config.Config, log *slog.Logger) (place, error) {
	p := place{options: savemail.Options{Timeout: saveTime(cfg), Log: log}}
	var file *sqlite.Store // nil for another store
	switch cfg.SaveMail {
	case config.SaveMySQL:
		store, err := mysql.New(mysqlOptions(cfg, log))
		if err != nil {
			return place{}, fmt.Errorf("MYSQL_HOST: %w", err)
		}
		p.Store, p.fits = store, store.Fits
		store.Meet()
		p.options.Writers, p.options.MaxBytes, p.options.Enough = 2, mysqlBatch, mysqlEnough
		if cfg.MySQL.Spread {
			p.options.Writers = max(p.options.Writers, len(cfg.MySQL.Hosts))
		}
		if len(cfg.MySQL.Hosts) > 1 { // another may be well while one hangs
			p.options.Reliefs = p.options.Writers
		}
	case config.SaveSQLite:
		file = sqlite.New(sqliteOptions(cfg, log))
		p.Store = file
	case config.SaveMaildir:
		p.Store = maildir.New(cfg.Maildir)
		p.options.Writers = maildirWriters
	case config.SaveWebhook:
		p.Store = webhook.New(webhook.Options{URL: cfg.Webhook.URL, Key: cfg.Webhook.Key, Version: version})
		p.options.Writers, p.options.MaxRows = webhook.Writers, 1
	case config.SaveDiscard:
		p.Store = discard.Store{}
	default:
		return place{}, fmt.Errorf("GM_SAVE_MAIL: no store %q", cfg.SaveMail)
	}
	if useRedis(cfg) {
		p.Store = redis.New(p.Store, redisOptions(cfg, log))
	}
	var err error
	if p.recipients, err = openRecipients(cfg, log); err != nil {
		return place{}, errors.Join(err, p.Store.Close())
	}
	if r, ok := p.recipients.(*sqlite.Recipients); ok && file != nil {
		file.Share(r)
	}
	return p, nil
}

// openReader opens the configured store for looking at it.
func openReader(cfg *config.Config) (r savemail.Reader, err error) {
	log := slog.New(slog.DiscardHandler)
	switch cfg.SaveMail {
	case config.SaveMySQL:
		r, err = mysql.NewReader(mysqlOptions(cfg, log))
	case config.SaveSQLite:
		r, err = sqlite.NewReader(sqliteOptions(cfg, log))
	case config.SaveMaildir:
		r, err = maildir.NewReader(cfg.Maildir)
	default:
		err = fmt.Errorf("GM_SAVE_MAIL is %s: there is nothing to read", cfg.SaveMail)
	}
	if err != nil {
		return nil, err
	}
	if useRedis(cfg) {
		r = redis.NewReader(r, redisOptions(cfg, log))
	}
	return r, nil
}

func useRedis(cfg *config.Config) bool {
	return cfg.Redis.Host != "" && cfg.SaveMail != config.SaveDiscard
}

func redisOptions(cfg *config.Config, log *slog.Logger) redis.Options {
	return redis.Options{
		Host:      cfg.Redis.Host,
		Pass:      cfg.Redis.Pass,
		DB:        cfg.Redis.DB,
		InPlace:   cfg.Redis.Mode == config.RedisStore,
		Expire:    cfg.Redis.Expire,
		Compress:  cfg.Compress,
		Stream:    cfg.Redis.Stream,
		StreamMax: cfg.Redis.StreamMax,
		Log:       log,
	}
}

func mysqlOptions(cfg *config.Config, log *slog.Logger) mysql.Options {
	return mysql.Options{
		Hosts:      cfg.MySQL.Hosts,
		Spread:     cfg.MySQL.Spread,
		User:       cfg.MySQL.User,
		Pass:       cfg.MySQL.Pass,
		DB:         cfg.MySQL.DB,
		TLS:        cfg.MySQL.TLS,
		Table:      cfg.Table,
		Compress:   cfg.Compress,
		MaxMessage: cfg.MaxSize,
		Timeout:    saveTime(cfg),
		Log:        log,
	}
}

func sqliteOptions(cfg *config.Config, log *slog.Logger) sqlite.Options {
	return sqlite.Options{File: cfg.SQLiteFile, Table: cfg.Table, Compress: cfg.Compress, Log: log}
}

// saveTime is within GSMTP_TIMEOUT, since a client that is kept waiting longer
// may have gone.
func saveTime(cfg *config.Config) time.Duration {
	return min(cfg.Timeout, 100*time.Second) * 9 / 10
}
