package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"goguerrillad/internal/config"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/savemail/sqlite"
)

// openRecipients makes what GM_RECIPIENT_QUERY asks, nil where there is none.
// It is not connected to yet.
func openRecipients(cfg *config.Config, log *slog.Logger) (recipient.Source, error) {
	switch q := cfg.Recipients.Query; {
	case q == nil:
		return nil, nil
	case cfg.SaveMail == config.SaveMySQL:
		return mysql.NewRecipients(mysqlOptions(cfg, log), *q)
	default:
		return sqlite.NewRecipients(sqliteOptions(cfg, log), *q), nil
	}
}

// tryTime is how long -t waits for the database.
const tryTime = 10 * time.Second

// tryRecipients asks the query once. That the database is away is told, and
// no error: a daemon can start and reload without it.
func tryRecipients(stderr io.Writer, cfg *config.Config) error {
	q := cfg.Recipients.Query
	if q == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), tryTime)
	defer cancel()
	address, domain := "postmaster@"+cfg.PrimaryHost, cfg.PrimaryHost
	log := slog.New(slog.DiscardHandler)
	var err error
	if cfg.SaveMail == config.SaveSQLite {
		err = sqlite.TryRecipients(ctx, sqliteOptions(cfg, log), *q, address, domain)
	} else {
		var source recipient.Source
		if source, err = openRecipients(cfg, log); err != nil {
			return err
		}
		_, err = source.Has(ctx, address, domain)
		err = errors.Join(err, source.Close())
	}
	switch {
	case errors.Is(err, recipient.ErrInvalid):
		return fmt.Errorf("%s: GM_RECIPIENT_QUERY: %w", cfg.File, err)
	case err != nil:
		fmt.Fprintf(stderr, "goguerrillad: GM_RECIPIENT_QUERY was not tried: %v\n", err)
	}
	return nil
}
