package e2e

import (
	"database/sql"
	"testing"

	_ "modernc.org/sqlite"

	"goguerrillad/internal/test/daemon"
)

// A table is where a daemon stores, seen by somebody else's eyes.
type table struct {
	db   *sql.DB
	name string
}

// row is one row of new_mail, without what is always the same.
type row struct {
	from, to, recipient, subject, body, charset string
	mail                                        []byte
	spam                                        float64
	hash, contentType                           string
	hasAttach                                   int
	ip, attach                                  string
}

// sqliteTable opens the file of a daemon for reading.
func sqliteTable(t *testing.T, d *daemon.Daemon) *table {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+d.Keys["SQLITE_FILE"]+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &table{db, "new_mail"}
}

// to returns the rows for one recipient.
func (tb *table) to(to string) ([]row, error) {
	found, err := tb.db.Query("SELECT `from`, `to`, recipient, subject, body, charset, mail, spam_score, hash, content_type,"+
		" has_attach, ip_addr, attach_info FROM "+tb.name+" WHERE `to` = ?", to)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var rows []row
	for found.Next() {
		var r row
		if err := found.Scan(&r.from, &r.to, &r.recipient, &r.subject, &r.body, &r.charset, &r.mail, &r.spam, &r.hash,
			&r.contentType, &r.hasAttach, &r.ip, &r.attach); err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, found.Err()
}

// count returns the number of rows.
func (tb *table) count(t *testing.T) (n int) {
	t.Helper()
	if err := tb.db.QueryRow("SELECT COUNT(*) FROM " + tb.name).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
