package sqlite

import (
	"context"
	"strings"

	"goguerrillad/internal/config"
	"goguerrillad/internal/recipient"
	"goguerrillad/internal/savemail"
)

// Driver describes the store.
func Driver() savemail.Driver {
	var file string
	named := false
	options := func(s savemail.Setup) Options {
		return Options{File: file, Table: s.Config.Table, Compress: s.Config.Compress, Log: s.Log}
	}
	return savemail.Driver{
		Name:  "sqlite",
		Table: true, Expires: true,
		Files: func() string { return file },
		Keys: []config.Key{
			{Name: "SQLITE_FILE", Derived: "$STATE_DIRECTORY/mail.db, else mail.db in the working directory",
				Doc: "file of the SQLite store, created with its table",
				Set: func(_ *config.Draft, v string) error {
					named = true
					return config.Into(&file, v, parseFile)
				}},
		},
		Check: func(d *config.Draft, selected bool) error {
			if file == "" {
				file = d.StateFile("mail.db")
			}
			if !selected {
				return nil
			}
			return checkTable(d)
		},
		// Two connections, each with the file, the WAL and the wal-index, and the files
		// and directories that recovery opens.
		Descriptors: func() int { return 16 },
		Open: func(s savemail.Setup) (savemail.Opened, error) {
			store := New(options(s))
			opened := savemail.Opened{Store: store}
			if s.Query != nil {
				recipients := NewRecipients(options(s), *s.Query)
				store.Share(recipients)
				opened.Recipients = recipients
			}
			return opened, nil
		},
		OpenReader: func(s savemail.Setup) (savemail.Reader, error) { return NewReader(options(s)) },
		Inspect: func(ctx context.Context, s savemail.Setup) ([]string, error) {
			return inspect(ctx, options(s), s.Keep > 0)
		},
		Query: &savemail.Query{
			Dialect:     recipient.SQLite,
			Named:       func() bool { return named },
			Open:        func(s savemail.Setup) (recipient.Source, error) { return NewRecipients(options(s), *s.Query), nil },
			Descriptors: func() int { return 2 * recipient.Connections * 2 }, // the file and its WAL
			Try: func(ctx context.Context, s savemail.Setup, address, domain string) error {
				return TryRecipients(ctx, options(s), *s.Query, address, domain)
			},
		},
	}
}

// checkTable refuses names that SQLite cannot use for a table.
func checkTable(d *config.Draft) error {
	const reserved = "sqlite_" // in any case, https://sqlite.org/lang_createtable.html
	switch {
	case strings.Contains(d.Table, "."):
		return d.Invalid("GM_MAIL_TABLE", "names a database", "want a table only, SQLITE_FILE is the database")
	case len(d.Table) >= len(reserved) && strings.EqualFold(d.Table[:len(reserved)], reserved):
		return d.Invalid("GM_MAIL_TABLE", "begins with sqlite_", "want another name, SQLite reserves this prefix")
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
