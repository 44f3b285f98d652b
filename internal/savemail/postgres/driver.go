package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"goguerrillad/internal/config"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail"
)

// Driver describes the store.
func Driver() savemail.Driver {
	o := &Options{}
	options := func(s savemail.Setup) Options {
		o := *o
		o.Table, o.Compress, o.Timeout, o.Log = s.Config.Table, s.Config.Compress, s.Timeout, s.Log
		return o
	}
	return savemail.Driver{
		Name:    "postgres",
		Table:   true,
		Expires: true,
		Peer:    true,
		Keys: []config.Key{
			{Name: "POSTGRES_DSN", Derived: "none", Secret: true,
				Doc: "connection to PostgreSQL as a URI or key=value of libpq; the password also from the systemd credential postgres_pass",
				Set: func(_ *config.Draft, v string) error { return config.Into(&o.DSN, v, dsn) }},
		},
		Default: func() bool { return o.DSN != "" },
		Check: func(d *config.Draft, selected bool) error {
			if selected && o.DSN == "" {
				return d.Invalid("POSTGRES_DSN", "is missing", "want postgres://user@host/database for GM_SAVE_MAIL=postgres")
			}
			return d.Credential("POSTGRES_DSN", "postgres_pass", &o.Pass)
		},
		// Connections for the writers, the extra writers, a check, settling, and one for
		// Expire; a reload opens as many.
		Descriptors: func() int { return 2 * (2*writers + 4) },
		Open:        func(s savemail.Setup) (savemail.Opened, error) { return open(options(s), s.Query) },
		OpenReader:  func(s savemail.Setup) (savemail.Reader, error) { return NewReader(options(s)) },
		Inspect: func(ctx context.Context, s savemail.Setup) ([]string, error) {
			return inspect(ctx, options(s), s)
		},
		Query: &savemail.Query{
			Dialect:     recipient.Postgres,
			Named:       func() bool { return o.DSN != "" },
			Open:        func(s savemail.Setup) (recipient.Source, error) { return NewRecipients(options(s), *s.Query) },
			Descriptors: func() int { return 2 * recipient.Connections },
			Try: func(ctx context.Context, s savemail.Setup, address, domain string) error {
				recipients, err := NewRecipients(options(s), *s.Query)
				if err != nil {
					return err
				}
				if _, err = recipients.Has(ctx, address, domain); isMistake(err) && !errors.Is(err, recipient.ErrInvalid) {
					err = fmt.Errorf("%w: %w", recipient.ErrInvalid, err)
				}
				return errors.Join(err, recipients.Close())
			},
		},
	}
}

// dsn accepts a connection string.
func dsn(v string) (string, error) {
	if strings.ContainsAny(v, "\x00\r\n") {
		return "", config.Invalid("has a line break", "want one line")
	}
	if _, err := pgx.ParseConfig(v); err != nil {
		return "", config.Invalid(dsnMistake(err), "want postgres://user@host/database or host=… dbname=…")
	}
	return v, nil
}

const (
	writers  = 2
	maxBatch = 1 << 20 // bytes
	minBatch = 12      // messages; while another Save runs, a smaller batch waits
)

// open returns the store and, if query is not nil, its Recipients.
func open(o Options, query *recipient.Query) (savemail.Opened, error) {
	store, err := New(o)
	if err != nil {
		return savemail.Opened{}, fmt.Errorf("POSTGRES_DSN: %w", err)
	}
	opened := savemail.Opened{
		Store:    store,
		Batching: savemail.Batching{Writers: writers, ExtraWriters: writers, MaxBytes: maxBatch, MinBatch: minBatch},
		Fits:     store.Fits,
	}
	if query != nil {
		if opened.Recipients, err = NewRecipients(o, *query); err != nil {
			return savemail.Opened{}, errors.Join(err, store.Close())
		}
	}
	store.WarmUp()
	return opened, nil
}
