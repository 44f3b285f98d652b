package sqlite

import (
	"context"
	"strings"

	"goguerrillad/internal/config"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail"
)

// Driver configures the store and selects it by GM_SAVE_MAIL=sqlite.
type Driver struct{ file string }

var _ savemail.Querier = (*Driver)(nil)

// Name returns the value of GM_SAVE_MAIL.
func (*Driver) Name() string { return "sqlite" }

// Features reports that there is a table.
func (*Driver) Features() savemail.Features { return savemail.Features{Table: true} }

// Keys returns SQLITE_FILE.
func (d *Driver) Keys() []config.Key {
	return []config.Key{
		{Name: "SQLITE_FILE", Derived: "$STATE_DIRECTORY/mail.db, else mail.db in the working directory",
			Doc: "file of the SQLite store, created with its table",
			Set: func(_ *config.Draft, v string) error { return config.Into(&d.file, v, parseFile) }},
	}
}

// Default returns false; package stores selects this driver if no other driver
// is the default.
func (*Driver) Default() bool { return false }

// Check sets the default of SQLITE_FILE and checks the name of the table.
func (d *Driver) Check(c *config.Draft, selected bool) error {
	if d.file == "" {
		d.file = c.StateFile("mail.db")
	}
	if !selected {
		return nil
	}
	const reserved = "sqlite_" // in any case, https://sqlite.org/lang_createtable.html
	switch {
	case strings.Contains(c.Table, "."):
		return c.Invalid("GM_MAIL_TABLE", "names a database", "want a table only, SQLITE_FILE is the database")
	case len(c.Table) >= len(reserved) && strings.EqualFold(c.Table[:len(reserved)], reserved):
		return c.Invalid("GM_MAIL_TABLE", "begins with sqlite_", "SQLite reserves such names, want another name")
	}
	return nil
}

// parseFile accepts a path and refuses a database in memory, which loses
// acknowledged messages with the process.
func parseFile(v string) (string, error) {
	if strings.HasPrefix(v, ":") || strings.HasPrefix(v, "file:") {
		return "", config.Invalid("is not a file", "want a path")
	}
	if strings.HasSuffix(v, "/") {
		return "", config.Invalid("is a directory", "want the path of a file")
	}
	return config.Path(v)
}

// Descriptors counts two connections with file, WAL and wal-index, recovery and
// directories, in the old and in the new store.
func (*Driver) Descriptors() int { return 16 }

// Open returns the store and, if there is a query, the source of its answers.
func (d *Driver) Open(s savemail.Setup) (savemail.Opened, error) {
	store := New(d.options(s))
	opened := savemail.Opened{Store: store}
	if s.Query != nil {
		recipients := NewRecipients(d.options(s), *s.Query)
		store.Share(recipients)
		opened.Recipients = recipients
	}
	return opened, nil
}

// OpenReader opens the file for reading.
func (d *Driver) OpenReader(s savemail.Setup) (savemail.Reader, error) {
	return NewReader(d.options(s))
}

// Dialect returns the dialect of SQLite.
func (*Driver) Dialect() recipient.Dialect { return recipient.SQLite }

// TryQuery runs the query once.
func (d *Driver) TryQuery(ctx context.Context, s savemail.Setup, address, domain string) error {
	return TryRecipients(ctx, d.options(s), *s.Query, address, domain)
}

// QueryDescriptors counts the file and its WAL.
func (*Driver) QueryDescriptors() int { return 2 }

func (d *Driver) options(s savemail.Setup) Options {
	return Options{File: d.file, Table: s.Config.Table, Compress: s.Config.Compress, Log: s.Log}
}
