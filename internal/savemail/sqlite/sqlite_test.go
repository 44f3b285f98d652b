package sqlite_test

import (
	"database/sql"
	"log/slog"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite"

	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/sqlite"
	"goguerrillad/internal/test/storetest"
)

// options returns the options for a file that is missing.
func options(t *testing.T) sqlite.Options {
	return sqlite.Options{
		File:  filepath.Join(t.TempDir(), "mail.db"),
		Table: "new_mail",
		Log:   slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// connect opens the file as another program.
func connect(t *testing.T, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// rows returns the rows of the file.
func rows(t *testing.T, file string) []storetest.Row {
	t.Helper()
	db := connect(t, file)
	defer db.Close()
	return storetest.Select(t, db, "new_mail", `"`)
}

func TestStore(t *testing.T) {
	created := storetest.Table{Name: "created by the store"}
	for i, table := range append([]storetest.Table{created, created}, storetest.Tables(t)...) {
		compress, form := i%2 == 1, "plain"
		if compress {
			form = "compressed"
		}
		t.Run(table.Name+"/"+form, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Harness {
				o := options(t)
				o.Compress = compress
				if table != created {
					execute(t, o.File, table.SQLite())
				}
				cannot := ""
				switch table.Name {
				case created.Name:
				case "minimal":
					cannot = "needs the column date"
				default:
					cannot = "needs an index" // Table.SQLite creates none
				}
				return storetest.Harness{
					CannotExpire: cannot,

					Store:  sqlite.New(o),
					Rows:   func(t *testing.T) []storetest.Row { return rows(t, o.File) },
					Reopen: func(*testing.T) savemail.Store { return sqlite.New(o) },
					Reader: func(t *testing.T) savemail.Reader {
						r, err := sqlite.NewReader(o)
						if err != nil {
							t.Fatal(err)
						}
						return r
					},
					Compressed: compress,
				}
			})
		})
	}
}
