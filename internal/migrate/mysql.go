package migrate

import (
	"net/url"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// databaseKeys converts the keys of a database server, and reports whether the result is
// complete.
func databaseKeys(v values, s section) bool {
	const driver, dsn = "sql_driver", "sql_dsn"
	for _, key := range []string{"mysql_table", "mail_table"} {
		s.set(v, "GM_MAIL_TABLE", s.text(key), key)
	}
	switch name := s.text(driver); strings.ToLower(name) {
	case "", "mysql":
	case "postgres", "pgx":
		return postgresKeys(v, s)
	default:
		s.none(driver, "there is no store for this database")
		s.drop(section.none, "it belongs to sql_driver", dsn)
		return false
	}
	var user, password, host, db, from string
	if s.given(dsn) {
		s.drop(section.unneeded, "sql_dsn has the same setting", "mysql_host", "mysql_user", "mysql_pass", "mysql_db")
		c := dataSource(v, s, dsn, s.text(dsn))
		user, password, host, db, from = c.User, c.Passwd, c.Addr, c.DBName, dsn
		s.set(v, "MYSQL_HOST", host, dsn)
		s.set(v, "MYSQL_USER", user, dsn)
		s.set(v, "MYSQL_DB", db, dsn)
	} else {
		delete(s.keys, dsn)
		from = "mysql_pass"
		password = take[string](s, from, "a string")
		host = s.text("mysql_host")
		if host != "" && !strings.Contains(host, ":") {
			host += ":3306"
		}
		s.set(v, "MYSQL_HOST", host, "mysql_host")
		s.set(v, "MYSQL_USER", s.text("mysql_user"), "mysql_user")
		s.set(v, "MYSQL_DB", s.text("mysql_db"), "mysql_db")
	}
	if password != "" {
		v["MYSQL_PASS"] = ""
		s.note(from, "copy the password to MYSQL_PASS: it is not printed")
	}
	return v["MYSQL_HOST"] != "" && (v["MYSQL_DB"] != "" || strings.Contains(v["GM_MAIL_TABLE"], "."))
}

// dataSource parses a data source name. The result is empty if it is not usable.
func dataSource(v values, s section, key, dsn string) *mysql.Config {
	base, parameters := dsn, ""
	if i := strings.LastIndexByte(dsn, '/'); i >= 0 {
		name, rest, _ := strings.Cut(dsn[i:], "?")
		base, parameters = dsn[:i]+name, rest
	}
	c, err := mysql.ParseDSN(base)
	if err != nil || c.Net != "tcp" && c.Net != "unix" {
		s.note(key, "cannot be converted: want user:password@tcp(host:port)/database or @unix(/path/to.sock)")
		return &mysql.Config{}
	}
	for p := range strings.SplitSeq(parameters, "&") {
		name, value, _ := strings.Cut(p, "=")
		switch {
		case p == "":
		case name == "tls":
			tlsParameter(v, s, key, base, value)
		default:
			if plain, err := url.QueryUnescape(name); err == nil {
				name = plain
			}
			s.none(key+"?"+name, "the daemon has its own settings for a connection")
		}
	}
	return c
}

// tlsParameter converts the parameter tls, which may name a configuration that only the
// other program had.
func tlsParameter(v values, s section, key, base, value string) {
	c, err := mysql.ParseDSN(base + "?tls=" + value)
	if err != nil {
		v["MYSQL_TLS"] = "Y"
		s.none(key+"?tls", "MYSQL_TLS=Y verifies the server with the certificates of this machine")
		return
	}
	switch c.TLSConfig {
	case "true":
		v["MYSQL_TLS"] = "Y"
	case "skip-verify", "preferred":
		v["MYSQL_TLS"] = c.TLSConfig
	}
}
