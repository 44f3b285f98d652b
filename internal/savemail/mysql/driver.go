package mysql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"goguerrillad/internal/config"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail"
)

// Driver describes the store.
func Driver() savemail.Driver {
	o := &Options{}
	options := func(s savemail.Setup) Options {
		o := *o
		o.Table, o.Compress, o.MaxMessage = s.Config.Table, s.Config.Compress, s.Config.MaxSize
		o.Timeout, o.Log = s.Timeout, s.Log
		return o
	}
	return savemail.Driver{
		Name:    "mysql",
		Table:   true,
		Expires: true,
		Keys:    keys(o),
		Default: func() bool { return len(o.Hosts) > 0 },
		Check:   func(d *config.Draft, selected bool) error { return check(d, o, selected) },
		// Each host has connections for the writers, the extra writers and a probe. Expire
		// has one connection, twice at a reload.
		Descriptors: func() int { return 12*max(1, len(o.Hosts)) + 2 },
		Open:        func(s savemail.Setup) (savemail.Opened, error) { return open(options(s), s.Query) },
		OpenReader:  func(s savemail.Setup) (savemail.Reader, error) { return NewReader(options(s)) },
		Inspect: func(ctx context.Context, s savemail.Setup) ([]string, error) {
			return inspect(ctx, options(s), s)
		},
		Query: &savemail.Query{
			Dialect: recipient.MySQL,
			Named:   func() bool { return len(o.Hosts) > 0 },
			Open:    func(s savemail.Setup) (recipient.Source, error) { return NewRecipients(options(s), *s.Query) },
			// Each host keeps its own idle connections.
			Descriptors: func() int { return 2 * recipient.Connections * max(1, len(o.Hosts)) },
			Try: func(ctx context.Context, s savemail.Setup, address, domain string) error {
				recipients, err := NewRecipients(options(s), *s.Query)
				if err != nil {
					return err
				}
				if _, err = recipients.Has(ctx, address, domain); isMistake(err) {
					err = fmt.Errorf("%w: %w", recipient.ErrInvalid, err)
				}
				return errors.Join(err, recipients.Close())
			},
		},
	}
}

func keys(o *Options) []config.Key {
	return []config.Key{
		{Name: "MYSQL_HOST", Derived: "none", Since2012: true,
			Doc: "host:port or /path/to.sock of the database, or a comma list that is tried in order",
			Set: func(_ *config.Draft, v string) error { return config.Into(&o.Hosts, v, config.Servers) }},
		{Name: "MYSQL_USER", Derived: "none", Since2012: true,
			Doc: "user of the database",
			Set: func(_ *config.Draft, v string) error { return config.Into(&o.User, v, config.Text) }},
		{Name: "MYSQL_PASS", Derived: "the systemd credential mysql_pass, else none", Since2012: true, Secret: true,
			Doc: "password of the database",
			Set: func(_ *config.Draft, v string) error { return config.Into(&o.Pass, v, config.AnyText) }},
		{Name: "MYSQL_DB", Derived: "none", Since2012: true,
			Doc: "name of the database",
			Set: func(_ *config.Draft, v string) error { return config.Into(&o.DB, v, databaseName) }},
		{Name: "MYSQL_SPREAD", Default: "N",
			Doc: "Y distributes messages over all healthy servers of MYSQL_HOST instead of using the first one",
			Set: func(_ *config.Draft, v string) error { return config.Into(&o.Spread, v, config.YesNo) }},
		{Name: "MYSQL_TLS", Default: tlsOff,
			Doc: "TLS to the database: N, preferred, Y (verified) or skip-verify",
			Set: func(_ *config.Draft, v string) error {
				return config.Into(&o.TLS, v, config.OneOf(tlsOff, tlsPreferred, tlsVerify, tlsSkipVerify))
			}},
	}
}

func databaseName(v string) (string, error) {
	if utf8.RuneCountInString(v) > config.MaxName {
		return "", config.Invalid("is too long", fmt.Sprintf("want at most %d characters", config.MaxName))
	}
	return config.Text(v)
}

// check reads the password and requires a host and a database.
func check(d *config.Draft, o *Options, selected bool) error {
	if err := d.Credential("MYSQL_PASS", "mysql_pass", &o.Pass); err != nil {
		return err
	}
	switch {
	case !selected:
		if o.DB != "" && len(o.Hosts) == 0 && !d.Given("GM_SAVE_MAIL") {
			d.Warn("MYSQL_DB is set without MYSQL_HOST: messages go to SQLite, not to MySQL")
		}
	case len(o.Hosts) == 0:
		return d.Invalid("MYSQL_HOST", "is missing", "want host:port or /path/to.sock for GM_SAVE_MAIL=mysql")
	case o.DB == "" && !strings.Contains(d.Table, "."):
		return d.Invalid("MYSQL_DB", "is missing", "want the name of a database in MySQL")
	}
	return nil
}

const (
	maxBatch = 300 << 10 // bytes; a larger INSERT is not more efficient
	minBatch = 12        // messages; while another Save runs, a smaller batch waits
)

// open returns the store and, if query is not nil, its Recipients.
func open(o Options, query *recipient.Query) (savemail.Opened, error) {
	store, err := New(o)
	if err != nil {
		return savemail.Opened{}, fmt.Errorf("MYSQL_HOST: %w", err)
	}
	b := savemail.Batching{Writers: 2, MaxBytes: maxBatch, MinBatch: minBatch}
	if o.Spread {
		b.Writers = max(b.Writers, len(o.Hosts))
	}
	if len(o.Hosts) > 1 { // if one host hangs, another may be healthy
		b.ExtraWriters = b.Writers
	}
	opened := savemail.Opened{Store: store, Batching: b, Fits: store.Fits}
	if query != nil {
		if opened.Recipients, err = NewRecipients(o, *query); err != nil {
			return savemail.Opened{}, errors.Join(err, store.Close())
		}
	}
	store.WarmUp()
	return opened, nil
}
