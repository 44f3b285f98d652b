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

// Driver configures the store and selects it by GM_SAVE_MAIL=mysql, or because
// MYSQL_HOST is set.
type Driver struct{ o Options }

var _ savemail.Querier = (*Driver)(nil)

// Name returns the value of GM_SAVE_MAIL.
func (*Driver) Name() string { return "mysql" }

// Features reports that there is a table.
func (*Driver) Features() savemail.Features { return savemail.Features{Table: true} }

// Keys returns the keys that begin with MYSQL_.
func (d *Driver) Keys() []config.Key {
	return []config.Key{
		{Name: "MYSQL_HOST", Derived: "none", Since2012: true,
			Doc: "host:port or /path/to.sock of the database, or a comma list that is tried in order",
			Set: func(_ *config.Draft, v string) error { return config.Into(&d.o.Hosts, v, config.Servers) }},
		{Name: "MYSQL_USER", Derived: "none", Since2012: true,
			Doc: "user of the database",
			Set: func(_ *config.Draft, v string) error { return config.Into(&d.o.User, v, config.Text) }},
		{Name: "MYSQL_PASS", Derived: "the systemd credential mysql_pass, else none", Since2012: true, Secret: true,
			Doc: "password of the database",
			Set: func(_ *config.Draft, v string) error { return config.Into(&d.o.Pass, v, config.AnyText) }},
		{Name: "MYSQL_DB", Derived: "none", Since2012: true,
			Doc: "name of the database",
			Set: func(_ *config.Draft, v string) error { return config.Into(&d.o.DB, v, databaseName) }},
		{Name: "MYSQL_SPREAD", Default: "N",
			Doc: "Y distributes messages over all healthy servers of MYSQL_HOST instead of using the first one",
			Set: func(_ *config.Draft, v string) error { return config.Into(&d.o.Spread, v, config.YesNo) }},
		{Name: "MYSQL_TLS", Default: TLSOff,
			Doc: "TLS to the database: N, preferred, Y (verified) or skip-verify",
			Set: func(_ *config.Draft, v string) error {
				return config.Into(&d.o.TLS, v, config.OneOf(TLSOff, TLSPreferred, TLSVerify, TLSSkipVerify))
			}},
	}
}

func databaseName(v string) (string, error) {
	if utf8.RuneCountInString(v) > config.MaxName {
		return "", config.Invalid("is too long", fmt.Sprintf("want at most %d characters", config.MaxName))
	}
	return config.Text(v)
}

// Default reports whether MYSQL_HOST is set.
func (d *Driver) Default() bool { return len(d.o.Hosts) > 0 }

// Check reads the password and requires a host and a database.
func (d *Driver) Check(c *config.Draft, selected bool) error {
	if err := c.Credential("MYSQL_PASS", "mysql_pass", &d.o.Pass); err != nil {
		return err
	}
	switch {
	case !selected:
		if d.o.DB != "" && len(d.o.Hosts) == 0 && !c.Given("GM_SAVE_MAIL") {
			c.Warn("MYSQL_DB is set without MYSQL_HOST: messages go to SQLite, not to MySQL")
		}
	case len(d.o.Hosts) == 0:
		return c.Invalid("MYSQL_HOST", "is missing", "GM_SAVE_MAIL=mysql needs host:port or /path/to.sock")
	case d.o.DB == "" && !strings.Contains(c.Table, "."):
		return c.Invalid("MYSQL_DB", "is missing", "GM_SAVE_MAIL=mysql needs the name of a database")
	}
	return nil
}

// Descriptors counts, for each host, the connections of the writers and of the
// extra writers, and the health check, in the old and in the new store.
func (d *Driver) Descriptors() int { return 12 * max(1, len(d.o.Hosts)) }

// One INSERT of more than maxBatch bytes gains nothing. While another Save runs,
// fewer than minBatch messages wait for more.
const (
	maxBatch = 300 << 10
	minBatch = 12
)

// Open returns the store and, if there is a query, the source of its answers.
func (d *Driver) Open(s savemail.Setup) (savemail.Opened, error) {
	store, err := New(d.options(s))
	if err != nil {
		return savemail.Opened{}, fmt.Errorf("MYSQL_HOST: %w", err)
	}
	b := savemail.Batching{Writers: 2, MaxBytes: maxBatch, MinBatch: minBatch}
	if d.o.Spread {
		b.Writers = max(b.Writers, len(d.o.Hosts))
	}
	if len(d.o.Hosts) > 1 { // another host may be healthy while one hangs
		b.ExtraWriters = b.Writers
	}
	opened := savemail.Opened{Store: store, Batching: b, Fits: store.Fits}
	if s.Query != nil {
		if opened.Recipients, err = NewRecipients(d.options(s), *s.Query); err != nil {
			return savemail.Opened{}, errors.Join(err, store.Close())
		}
	}
	store.Meet()
	return opened, nil
}

// OpenReader connects for reading.
func (d *Driver) OpenReader(s savemail.Setup) (savemail.Reader, error) {
	return NewReader(d.options(s))
}

// Dialect returns the dialect of MySQL.
func (*Driver) Dialect() recipient.Dialect { return recipient.MySQL }

// TryQuery runs the query once.
func (d *Driver) TryQuery(ctx context.Context, s savemail.Setup, address, domain string) error {
	recipients, err := NewRecipients(d.options(s), *s.Query)
	if err != nil {
		return err
	}
	_, err = recipients.Has(ctx, address, domain)
	return errors.Join(err, recipients.Close())
}

// QueryDescriptors returns 1.
func (*Driver) QueryDescriptors() int { return 1 }

func (d *Driver) options(s savemail.Setup) Options {
	o := d.o
	o.Table, o.Compress, o.MaxMessage = s.Config.Table, s.Config.Compress, s.Config.MaxSize
	o.Timeout, o.Log = s.Timeout, s.Log
	return o
}
