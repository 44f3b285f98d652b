package e2e

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"goguerrillad/internal/test/daemon"
)

// A table is the table of a daemon, read through the test's own connection.
type table struct {
	db   *sql.DB
	name string
}

// A row is one row of new_mail, without mail_id and the date.
type row struct {
	from, to, recipient, subject, body, charset string
	mail                                        []byte
	spam                                        float64
	hash, contentType                           string
	hasAttach                                   int
	ip, attach                                  string
}

// differences returns the columns, except mail and hash, in which two rows differ.
func (r row) differences(want row) []string {
	var list []string
	compare := func(column string, got, want any) {
		if got != want {
			list = append(list, fmt.Sprintf("%s is %#v, want %#v", column, got, want))
		}
	}
	compare("from", r.from, want.from)
	compare("to", r.to, want.to)
	compare("recipient", r.recipient, want.recipient)
	compare("subject", r.subject, want.subject)
	compare("body", r.body, want.body)
	compare("charset", r.charset, want.charset)
	compare("spam_score", r.spam, want.spam)
	compare("content_type", r.contentType, want.contentType)
	compare("has_attach", r.hasAttach, want.hasAttach)
	compare("ip_addr", r.ip, want.ip)
	compare("attach_info", r.attach, want.attach)
	return list
}

// sqliteTable opens the SQLite file of a daemon read-only.
func sqliteTable(t *testing.T, d *daemon.Daemon) *table {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+d.Keys["SQLITE_FILE"]+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &table{db, "new_mail"}
}

// to returns the rows of one recipient.
func (tb *table) to(to string) ([]row, error) {
	query := "SELECT `from`, `to`, recipient, subject, body, charset, mail, spam_score, hash, content_type," +
		" has_attach, ip_addr, attach_info FROM " + tb.name + " WHERE `to` = ?"
	if _, ok := tb.db.Driver().(*stdlib.Driver); ok { // PostgreSQL
		query = strings.NewReplacer("`", `"`, "has_attach", "has_attach::int", "?", "$1").Replace(query)
	}
	found, err := tb.db.Query(query, to)
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
