package migrate

import (
	"strings"

	"goguerrillad/internal/config"
)

// backend converts backend_config; name is the backend of version 1.4.
func backend(v values, s section, name string) {
	s.set(v, "GM_PRIMARY_MAIL_HOST", s.text("primary_mail_host"), "primary_mail_host")
	chain := process(s, name)
	if chain.compress {
		v["GM_MAIL_COMPRESS"] = "Y"
	}
	database(v, s, chain)
	redis(v, s, chain)
	s.drop(section.none, "GM_RECIPIENT_QUERY decides in SQL which recipients exist", "validate_process")
	s.drop(section.unneeded, "columns are filled by name", "sql_insert", "sql_values")
	s.drop(section.unneeded, "the daemon opens the connections that it needs", "save_workers_size",
		"sql_max_open_conns", "sql_max_idle_conns", "sql_max_conn_lifetime")
	s.drop(section.unneeded, "GSMTP_TIMEOUT also limits the time for storing", "gw_save_timeout", "redis_sql_batch_timeout")
	s.drop(section.unneeded, "a query has 5 s", "gw_val_rcpt_timeout")
	s.drop(section.unneeded, "every message is logged", "log_received_mails")
	s.rest()
}

// unneeded adds a line about a key that has nothing to set in this daemon.
func (s section) unneeded(key, reason string) { s.note(key, "not needed: %s", reason) }

// chain is what the processors of save_process do.
type chain struct {
	sql, redis, compress bool
	unknown              bool // has a processor that may store messages elsewhere
}

// process reads save_process, whose names may be in any case.
func process(s section, backend string) chain {
	const key = "save_process"
	var c chain
	if _, isText := s.keys[key].(string); s.given(key) && !isText {
		c.unknown = true
	}
	names := s.text(key)
	if names == "" && strings.EqualFold(backend, "guerrilla-db-redis") {
		names = "GuerrillaRedisDB" // the same code with another name
	}
	for name := range strings.SplitSeq(names, "|") {
		name = strings.TrimSpace(name)
		reason := ""
		switch strings.ToLower(name) {
		case "", "headersparser", "header", "hasher":
		case "compressor":
			c.compress = true
		case "redis":
			c.redis = true
		case "sql", "mysql":
			c.sql = true
		case "guerrillaredisdb":
			c.sql, c.redis, c.compress = true, true, true
		case "debugger":
			reason = "GSMTP_VERBOSE=Y logs the dialogue"
		case "maildir", "localfiles":
			c.unknown, reason = true, "GM_SAVE_MAIL=maildir stores the messages in one Maildir"
		case "fastcgi":
			c.unknown, reason = true, "GM_SAVE_MAIL=webhook sends each message to a program by HTTP"
		default:
			c.unknown, reason = true, "the processor is unknown"
		}
		if reason != "" {
			s.none(key, config.Printable(name)+": "+reason)
		}
	}
	return c
}

// database converts the keys of the database. Without a usable one messages go to
// SQLite, or nowhere if the other program stored nothing.
func database(v values, s section, c chain) {
	const store = "GM_SAVE_MAIL"
	switch {
	case c.sql && databaseKeys(v, s):
		return
	case c.sql:
		v[store] = "sqlite"
		delete(v, "GM_MAIL_TABLE") // SQLite does not accept every name
		s.note("save_process", "set MYSQL_HOST, MYSQL_DB and GM_MAIL_TABLE, or POSTGRES_DSN, and remove %s, which stores in SQLite until then", store)
	case c.redis:
		v[store] = "sqlite"
		s.note("save_process", "stores in Redis only: the table that goguerrillad needs is in SQLite")
	case c.unknown:
		v[store] = "sqlite"
		s.note("save_process", "stores in no database: %s is sqlite, so that no message is lost", store)
	default:
		v[store] = "discard"
		s.note("save_process", "stores no message, as %s=discard: remove this key to store in SQLite", store)
	}
	if !c.sql {
		s.drop(section.unneeded, "save_process does not use SQL", "mail_table", "mysql_table", "sql_driver", "sql_dsn",
			"mysql_host", "mysql_user", "mysql_pass", "mysql_db")
	}
}

// redis converts the keys of Redis.
func redis(v values, s section, c chain) {
	const host, expire = "redis_interface", "redis_expire_seconds"
	if !c.redis {
		s.drop(section.unneeded, "save_process does not use Redis", host, expire)
		return
	}
	s.set(v, "REDIS_HOST", s.text(host), host)
	s.set(v, "REDIS_EXPIRE_SECONDS", s.number(expire), expire)
	if v["REDIS_HOST"] == "" {
		s.note(host, "set REDIS_HOST, and REDIS_MODE to store")
		return
	}
	v["REDIS_MODE"] = "store"
}
