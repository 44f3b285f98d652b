package attacks

import (
	"database/sql"
	"fmt"
	"testing"

	_ "modernc.org/sqlite"
)

// rows returns the rows of the daemon's SQLite file whose column has a value. The keys of a
// row are the names of the columns.
func (a *target) rows(t *testing.T, column, value string) []map[string]string {
	t.Helper()
	db, err := sql.Open("sqlite", fmt.Sprintf("file:%s?mode=ro&_pragma=busy_timeout(10000)", a.Keys["SQLITE_FILE"]))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	return query(t, db, column, value)
}

// query returns the rows of new_mail in a database whose column has a value.
func query(t *testing.T, db *sql.DB, column, value string) (rows []map[string]string) {
	t.Helper()
	found, err := db.Query("SELECT `from`, `to`, subject, charset, content_type, attach_info, mail, hash FROM new_mail WHERE `"+column+"` = ?", value)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	for found.Next() {
		names := []string{"from", "to", "subject", "charset", "content_type", "attach_info", "mail", "hash"}
		values := make([]string, len(names))
		into := make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := found.Scan(into...); err != nil {
			t.Fatal(err)
		}
		row := map[string]string{}
		for i, name := range names {
			row[name] = values[i]
		}
		rows = append(rows, row)
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}
