package servers

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"goguerrillad/internal/test"
)

// postgresSchema creates the table that we ship.
const postgresSchema = "internal/savemail/postgres/new_mail.postgresql.sql"

// addUsers creates the owner, its database, and the daemon's user.
func (s *PostgresServer) addUsers(t test.T) {
	t.Helper()
	db := s.open(t, "postgres", "postgres")
	defer db.Close()
	execAll(t, db,
		fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", s.Owner, s.Pass),
		fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", s.User, s.Pass),
		fmt.Sprintf("CREATE DATABASE %s OWNER %s", s.DB, s.Owner))
}

// CreateTable creates the table that we ship unless it exists, as the owner, and grants
// the rights of the manual to the daemon's user. The name may have a schema.
func (s *PostgresServer) CreateTable(t test.T, name string) {
	t.Helper()
	_, bare, qualified := strings.Cut(name, ".")
	if !qualified {
		bare = name
	}
	text := regexp.MustCompile(`\bnew_mail(_?\w*)`).ReplaceAllStringFunc(test.ReadSource(t, postgresSchema), func(found string) string {
		if suffix := strings.TrimPrefix(found, "new_mail"); suffix != "" {
			return bare + suffix // an index is in the schema of its table
		}
		return name
	})
	db := s.open(t, s.Owner, s.DB)
	defer db.Close()
	grant := regexp.MustCompile(`(?m)^GRANT .* ON new_mail TO goguerrilla;$`).FindString(test.ReadSource(t, "man/goguerrilla.conf.5"))
	execAll(t, db, text, strings.NewReplacer("new_mail", name, "goguerrilla", s.User).Replace(grant))
}

// GrantDelete grants the right for GM_KEEP_HOURS.
func (s *PostgresServer) GrantDelete(t test.T, name string) {
	t.Helper()
	s.Exec(t, fmt.Sprintf("GRANT DELETE ON %s TO %s", name, s.User))
}

// Keys returns the daemon's configuration keys for the server.
func (s *PostgresServer) Keys() map[string]string {
	return map[string]string{"GM_SAVE_MAIL": "postgres", "POSTGRES_DSN": s.DSN()}
}

// DSN returns the URI of the database for the daemon's user, without TLS, at the addresses
// (default: Addr).
func (s *PostgresServer) DSN(addrs ...string) string { return s.DSNOf(s.User, addrs...) }

// DSNOf is DSN for another user.
func (s *PostgresServer) DSNOf(user string, addrs ...string) string {
	if len(addrs) == 0 {
		addrs = []string{s.Addr}
	}
	dsn := url.URL{
		Scheme: "postgres", User: url.UserPassword(user, s.Pass), Host: strings.Join(addrs, ","), Path: "/" + s.DB,
		RawQuery: "sslmode=disable",
	}
	return dsn.String()
}

// Connect returns a pool of connections of the superuser postgres, by the unix socket. It
// replaces connections that a restart has ended.
func (s *PostgresServer) Connect(t test.T) *sql.DB {
	t.Helper()
	db := s.open(t, "postgres", s.DB)
	t.Cleanup(func() { db.Close() })
	return db
}

// ConnectUser is Connect for the daemon's user.
func (s *PostgresServer) ConnectUser(t test.T) *sql.DB {
	t.Helper()
	db := s.open(t, s.User, s.DB)
	t.Cleanup(func() { db.Close() })
	return db
}

func (s *PostgresServer) open(t test.T, user, database string) *sql.DB {
	t.Helper()
	c, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%s user=%s dbname=%s connect_timeout=10", s.Socket, s.Port(), user, database))
	if err != nil {
		t.Fatalf("%v", err)
	}
	c.Password = s.Pass
	// A test may create a table again, which makes the statements in a cache fail.
	c.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	return stdlib.OpenDB(*c, stdlib.OptionShouldPing(func(context.Context, stdlib.ShouldPingParams) bool { return true }))
}

// Exec executes statements as the superuser.
func (s *PostgresServer) Exec(t test.T, statements ...string) {
	t.Helper()
	db := s.open(t, "postgres", s.DB)
	defer db.Close()
	execAll(t, db, statements...)
}

func execAll(t test.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		// The simple protocol allows several statements in a text.
		if _, err := db.Exec(statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// QueryRow reads one value as the superuser.
func (s *PostgresServer) QueryRow(t test.T, query string, into any) {
	t.Helper()
	db := s.open(t, "postgres", s.DB)
	defer db.Close()
	if err := db.QueryRow(query).Scan(into); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
