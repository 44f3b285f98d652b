package servers_test

import (
	"database/sql"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/pgproxy"
	"goguerrillad/internal/test/servers"
)

// insert inserts a row as the daemon's user.
const insert = `INSERT INTO new_mail ("date", "from", "to", subject, body, charset, mail, spam_score, hash, content_type, recipient,
	has_attach, ip_addr, attach_info) VALUES (now(), '', $1, '', '', '', '\x0041', 0, '', '', '', false, '', '[]')`

func needServers(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts PostgreSQL")
	}
}

func exec(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.Exec(statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func rows(t *testing.T, s *servers.PostgresServer) (n int) {
	t.Helper()
	s.QueryRow(t, "SELECT count(*) FROM new_mail", &n)
	return n
}

// dial returns a pool of connections of the daemon's user, by TCP.
func dial(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// TestPostgres: committed rows survive all ends of the server.
func TestPostgres(t *testing.T) {
	needServers(t)
	s := servers.Postgres(t, "max_connections=7")
	s.CreateTable(t, "new_mail")
	s.CreateTable(t, "new_mail")
	ends := map[string]func(){
		"kill": s.Kill, "stop": func() { s.Stop() }, "crash": func() { s.Crash() },
		"pause": func() { s.Pause(t); s.Kill() },
	}
	n := 0
	for name, end := range ends {
		exec(t, dial(t, s.DSN()), insert, name)
		n++
		end()
		if !s.Ended() {
			t.Fatalf("%s: the server runs", name)
		}
		s.Start(t)
		if got := rows(t, s); got != n {
			t.Errorf("%s: %d rows, want %d", name, got, n)
		}
	}
	s.Pause(t)
	s.Continue(t)
	exec(t, dial(t, s.DSN()), insert, "continued")
	var setting string
	s.QueryRow(t, "SHOW max_connections", &setting)
	s.Set(t, "synchronous_commit=off")
	var changed string
	if s.QueryRow(t, "SHOW synchronous_commit", &changed); changed != "off" {
		t.Errorf("synchronous_commit is %s, want off", changed)
	}
	if setting != "7" {
		t.Errorf("max_connections is %s, want 7", setting)
	}
}

// TestPostgresRights: the daemon's user may insert and read, and nothing else.
func TestPostgresRights(t *testing.T) {
	needServers(t)
	s := servers.Postgres(t)
	s.Exec(t, "CREATE SCHEMA other AUTHORIZATION mailowner", "GRANT USAGE ON SCHEMA other TO goguerrilla")
	for _, table := range []string{"new_mail", "other.inbox"} {
		s.CreateTable(t, table)
		db := s.ConnectUser(t)
		exec(t, db, strings.Replace(insert, "new_mail", table, 1), "a@example.com")
		for _, statement := range []string{"DELETE FROM " + table, "UPDATE " + table + " SET body = ''", "DROP TABLE " + table, "CREATE TABLE more (n int)"} {
			if _, err := db.Exec(statement); err == nil {
				t.Errorf("%s succeeded", statement)
			}
		}
		s.GrantDelete(t, table)
		exec(t, db, "DELETE FROM "+table)
	}
}

// TestPostgresTLS: the server proves its name with the certificate, also through a proxy.
func TestPostgresTLS(t *testing.T) {
	needServers(t)
	s := servers.Postgres(t)
	s.CreateTable(t, "new_mail")
	cert := test.NewCertificate(t, t.TempDir(), "db.example.com")
	s.UseCertificate(t, cert)
	for _, addr := range []string{s.Addr, pgproxy.Start(t, s.Addr).Addr} {
		dsn := strings.Replace(s.DSN(addr), "sslmode=disable", "sslmode=verify-full&sslrootcert="+cert.CertFile, 1)
		exec(t, dial(t, dsn), insert, "a@example.com")
		other := test.NewCertificate(t, t.TempDir(), "other")
		if err := dial(t, strings.Replace(dsn, cert.CertFile, other.CertFile, 1)).Ping(); err == nil {
			t.Errorf("%s: a certificate of another authority is accepted", addr)
		}
	}
	if n := rows(t, s); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}
