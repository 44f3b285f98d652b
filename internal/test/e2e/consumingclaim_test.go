package e2e

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"

	"goguerrillad/internal/test/servers"
)

// consumer returns connections of the user on the page.
func (c *consumed) consumer(t *testing.T) *sql.DB {
	t.Helper()
	var driver, dsn string
	if c.postgres != nil {
		driver, dsn = "pgx", "host="+c.postgres.Socket+" port="+c.postgres.Port()+" user=consumer password='third secret' lock_timeout=10s dbname="+c.postgres.DB
	} else {
		driver, dsn = "mysql", "consumer:third secret@unix("+c.server.Socket+")/mail"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// TestConsumingStatements runs the statements of consuming.md.
func TestConsumingStatements(t *testing.T) {
	for _, store := range []string{"mariadb", "postgres", "sqlite"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			c := newConsumed(t, store)
			if store != "sqlite" {
				t.Run("claims", c.claimConcurrently)
				t.Run("delete", c.deleteOld)
			}
			t.Run("index", c.useIndex)
			t.Run("decode", c.decode)
		})
	}
}

// claimConcurrently: workers that claim at the same time receive different rows, and the
// daemon stores messages meanwhile. The user of the workers cannot change a message.
func (c *consumed) claimConcurrently(t *testing.T) {
	session := connect(t, c.Daemon)
	for range 3 {
		send(t, session, "someone@example.com")
	}
	consumer := c.consumer(t)
	claim := c.statements(t, "sql claim")[:3]
	remove := c.statements(t, "sql delete")[1]
	if c.postgres != nil {
		claim = append([]string{"BEGIN"}, c.statements(t, "sql postgres-claim")...)
		remove = c.statements(t, "sql postgres-delete")[0]
	}
	var claimed []int64
	for range 4 {
		conn, err := consumer.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		last := len(claim) - 1
		for _, statement := range claim[:last] {
			if _, err := conn.ExecContext(t.Context(), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
		var id int64
		var hash, body, mail string
		if err := conn.QueryRowContext(t.Context(), claim[last]).Scan(&id, &hash, &body, &mail); errors.Is(err, sql.ErrNoRows) {
			id = 0
		} else if err != nil {
			t.Fatal(err)
		}
		claimed = append(claimed, id)
	}
	if fmt.Sprint(claimed) != "[1 2 3 0]" {
		t.Errorf("claimed the rows %v, want 1 2 3, and none for the fourth worker", claimed)
	}
	send(t, session, "someone@example.com")
	for _, statement := range []string{"UPDATE new_mail SET mail = ''", "UPDATE new_mail SET hash = ''",
		"INSERT INTO new_mail SELECT * FROM new_mail", remove} {
		_, err := consumer.Exec(statement)
		e, isMySQL := errors.AsType[*mysql.MySQLError](err)
		p, isPostgres := errors.AsType[*pgconn.PgError](err)
		if !(isMySQL && (e.Number == 1142 || e.Number == 1143) || isPostgres && p.Code == "42501") {
			t.Errorf("%s: %v, want no right", statement, err)
		}
	}
}

// deleteOld: the page's DELETE removes old processed rows only, and the daemon stores
// messages meanwhile.
func (c *consumed) deleteOld(t *testing.T) {
	c.empty(t)
	session := connect(t, c.Daemon)
	send(t, session, "old@example.com")
	c.multiply(t, 11)
	c.do(t, "UPDATE new_mail SET date = date - INTERVAL '2' DAY")
	send(t, session, "new@example.com")
	c.do(t, "UPDATE new_mail SET delivered = true")
	send(t, session, "waiting@example.com")
	c.do(t, "UPDATE new_mail SET date = date - INTERVAL '2' DAY WHERE delivered = false")
	conn, err := c.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	run := func(statement string) {
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	statements := c.statements(t, "sql delete")
	if c.postgres != nil {
		statements = c.statements(t, "sql postgres-delete")
	}
	last := len(statements) - 1
	for _, statement := range statements[:last] {
		run(statement)
	}
	run("START TRANSACTION")
	run(statements[last])
	send(t, session, "someone@example.com")
	run("COMMIT")
	if processed, all := c.count(t, "delivered = true"), c.count(t, "1 = 1"); processed != 1 || all != 3 {
		t.Errorf("%d processed rows of %d are left, want the new one of 3", processed, all)
	}
}

// useIndex: the claim and the new attempts use the index of the page, whatever the number
// of processed rows.
func (c *consumed) useIndex(t *testing.T) {
	c.empty(t)
	explain, claim := "EXPLAIN ", c.statements(t, "sql claim")[2]
	if servers.MySQL {
		explain = "EXPLAIN FORMAT=TRADITIONAL "
	}
	switch c.store {
	case "postgres":
		claim = c.statements(t, "sql postgres-claim")[0]
	case "sqlite":
		explain, claim = "EXPLAIN QUERY PLAN ", c.statements(t, "sql sqlite-claim")[0]
	}
	session := connect(t, c.Daemon)
	for range 10 {
		send(t, session, "someone@example.com")
	}
	c.multiply(t, 11)
	send(t, session, "last@example.com")
	for _, processed := range []string{"`to` <> 'last@example.com'", "`to` = 'last@example.com'"} {
		c.do(t, "UPDATE new_mail SET delivered = false")
		c.do(t, "UPDATE new_mail SET delivered = true WHERE "+processed)
		if c.postgres != nil {
			c.do(t, "ANALYZE new_mail") // as autovacuum does
		}
		for _, statement := range []string{claim, c.statements(t, "sql now")[0], c.statements(t, "sql retry")[0]} {
			plan := plan(t, c.db, explain+statement)
			if !strings.Contains(plan, "waiting") || sorts(plan) {
				t.Errorf("processed %s: %s: %s", processed, statement, plan)
			}
		}
	}
}

// multiply doubles the rows of the table n times.
func (c *consumed) multiply(t *testing.T, n int) {
	t.Helper()
	columns := "date, `from`, `to`, subject, body, charset, mail, spam_score, hash, content_type, recipient, has_attach, ip_addr, attach_info"
	for range n {
		c.do(t, "INSERT INTO new_mail ("+columns+") SELECT "+columns+" FROM new_mail")
	}
}

// plan returns the rows of an EXPLAIN.
func plan(t *testing.T, db *sql.DB, explain string) string {
	t.Helper()
	rows, err := db.Query(explain)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	values := make([]sql.NullString, len(columns))
	into := make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	var plan strings.Builder
	for err == nil && rows.Next() {
		err = rows.Scan(into...)
		fmt.Fprintln(&plan, values)
	}
	if err = errors.Join(err, rows.Err()); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}

// sorts reports whether a plan sorts rows, in any of the stores.
func sorts(plan string) bool {
	return strings.Contains(plan, "filesort") || strings.Contains(plan, "TEMP B-TREE") || strings.Contains(plan, "Sort")
}
