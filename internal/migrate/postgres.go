package migrate

import (
	"net/url"
	"regexp"
	"strings"
)

// password is a password in a connection string of the form key=value.
var password = regexp.MustCompile(`(?i)(^|\s)(ssl)?password\s*=\s*('(\\.|[^'\\])*'|(\\.|[^\s\\])*)`)

// postgresKeys converts the connection string of PostgreSQL, which has the same form here,
// without passwords. It reports whether the result is complete.
func postgresKeys(v values, s section) bool {
	const key, dsn = "POSTGRES_DSN", "sql_dsn"
	s.drop(section.unneeded, "sql_dsn has the same setting", "mysql_host", "mysql_user", "mysql_pass", "mysql_db")
	text := s.text(dsn)
	converted := strings.TrimSpace(password.ReplaceAllString(text, ""))
	if u, err := url.Parse(text); strings.Contains(text, "://") {
		if err != nil {
			s.note(dsn, "cannot be converted: want postgres://user@host/database")
			return false
		}
		if u.User != nil {
			u.User = url.User(u.User.Username())
		}
		query := u.Query()
		query.Del("password")
		query.Del("sslpassword")
		u.RawQuery = query.Encode()
		converted = u.String()
	}
	s.set(v, key, converted, dsn)
	if converted != text {
		s.note(dsn, "add the password to %s, or to the systemd credential postgres_pass: it is not printed", key)
	}
	s.note(dsn, "the column mail must have the type bytea: goguerrillad -t checks the table")
	return v[key] != ""
}
