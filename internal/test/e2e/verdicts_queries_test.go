package e2e

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"goguerrillad/internal/test"
)

// checkQueries tests that the query of the program uses the index, that the query for
// readers returns the rows with a verdict, and that no row is late.
func (j *judged) checkQueries(t *testing.T, want int) {
	t.Helper()
	query := "SELECT mail_id, date FROM " + j.table.name + " WHERE dkim_valid IS NULL AND date >= '2026-01-01' AND (date > '2026-01-01' OR mail_id > 1) ORDER BY date, mail_id LIMIT 100"
	explain, key := "EXPLAIN QUERY PLAN ", `SEARCH new_mail USING COVERING INDEX new_mail.unjudged (dkim_valid=? AND date>?)`
	switch j.store {
	case "mysql":
		explain, key = "EXPLAIN FORMAT=JSON ", `"key": "unjudged"`
	case "postgres":
		j.pg.Exec(t, "ALTER DATABASE "+j.pg.DB+" SET enable_seqscan=off") // the table is small
		explain, key = "EXPLAIN ", "Index Only Scan using unjudged"
	}
	if text := plan(t, j.table.db, explain+query); !strings.Contains(text, key) || sorts(text) {
		t.Errorf("plan of the query: %s", text)
	}
	var ready, late int
	if err := j.table.db.QueryRow("SELECT COUNT(*) FROM (" + j.page.Block(t, "sql ready "+j.store, "new_mail", j.table.name) + ") AS ready").Scan(&ready); err != nil || ready != want {
		t.Errorf("%d rows are ready, %v, want %d", ready, err, want)
	}
	if j.store != "sqlite" {
		if err := j.table.db.QueryRow(j.page.Block(t, "sql late", "new_mail", j.table.name)).Scan(&late); err != nil || late != 0 {
			t.Errorf("%d rows are late, %v", late, err)
		}
	}
}

// checkRights tests that the rights of the program's user suffice for its columns only.
func (j *judged) checkRights(t *testing.T) {
	t.Helper()
	var driver, dsn, denied string
	if j.pg != nil {
		driver, dsn, denied = "pgx", "postgres://verdicts:a%20long%20password@"+j.pg.Addr+"/"+j.pg.DB, "42501"
	} else {
		driver, dsn, denied = "mysql", j.user+":a long password@unix("+shared.MariaDB().Socket+")/"+shared.MariaDB().DB, "denied"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("UPDATE " + j.table.name + " SET spam_score=0 WHERE mail_id=0"); err != nil {
		t.Errorf("the user cannot update the score: %v", err)
	}
	for _, s := range []string{"SELECT subject FROM %s", "UPDATE %s SET mail='' WHERE mail_id=0", "UPDATE %s SET delivered=(1=1) WHERE mail_id=0", "DELETE FROM %s", "DROP TABLE %s"} {
		if _, err := db.Exec(fmt.Sprintf(s, j.table.name)); err == nil || !strings.Contains(err.Error(), denied) {
			t.Errorf("%s: %v, want a refusal", s, err)
		}
	}
}

// lock locks the row of a recipient in a database server, as a reader does, and returns a
// function that unlocks it.
func (j *judged) lock(t *testing.T, to string) func() {
	t.Helper()
	if j.store == "sqlite" {
		return func() {}
	}
	tx, err := j.table.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback() })
	column := "`to`"
	if j.pg != nil {
		column = `"to"`
	}
	var id int
	if err := tx.QueryRow("SELECT mail_id FROM " + j.table.name + " WHERE " + column + "='" + to + "' FOR UPDATE").Scan(&id); err != nil {
		t.Fatal(err)
	}
	return func() { tx.Rollback() }
}

// TestVerdictsUnit: systemd accepts the unit of the program, also with each drop-in, and
// rates its exposure as low.
func TestVerdictsUnit(t *testing.T) {
	test.Need(t, "systemd-analyze")
	root, err := test.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	const unit = "goguerrillad-verdicts.service"
	dir := t.TempDir()
	write := func(dir, name string) {
		text := test.ReadSource(t, "packaging/systemd/examples/"+name)
		test.WriteFile(t, dir, name, strings.ReplaceAll(text, "/usr/local/bin", filepath.Join(root, "packaging/rspamd")))
	}
	write(dir, unit)
	for _, name := range []string{"", "goguerrillad-verdicts-postgres.conf", "goguerrillad-verdicts-sqlite.conf"} {
		dropIns := filepath.Join(dir, unit+".d")
		if err := os.RemoveAll(dropIns); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dropIns, 0o755); err != nil {
			t.Fatal(err)
		}
		if name != "" {
			write(dropIns, name)
		}
		if out, err := exec.Command("systemd-analyze", "verify", "--man=no", filepath.Join(dir, unit)).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("systemd-analyze verify, drop-in %q: %v\n%s", name, err, out)
		}
		if out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=15", filepath.Join(dir, unit)).CombinedOutput(); err != nil {
			t.Errorf("systemd-analyze security, drop-in %q: %v\n%s", name, err, out)
		}
	}
}
