package mysql

import (
	"context"
	"database/sql/driver"
	"strconv"
	"strings"
)

// headRoom is what the added header lines may need beside a message, in bytes.
const headRoom = 4096

// A guard is a setting of the server that only an operator can change, and on
// which depends how much a commit survives.
type guard struct {
	name, safe string // safe is the value to recommend
	unsafe     func(value string, all map[string]string) bool
}

func is(values ...string) func(string, map[string]string) bool {
	return func(value string, _ map[string]string) bool {
		for _, v := range values {
			if strings.EqualFold(v, value) {
				return true
			}
		}
		return false
	}
}

var guards = []guard{
	// MariaDB's 3 syncs as often as 1, and more.
	{"innodb_flush_log_at_trx_commit", "1", is("0", "2")},
	{"innodb_doublewrite", "ON", is("OFF", "0", "DETECT_ONLY")},
	{"innodb_flush_method", "O_DIRECT", is("nosync", "littlesync", "O_DIRECT_NO_FSYNC")},
	{"sync_binlog", "1", func(value string, all map[string]string) bool {
		return value != "1" && strings.EqualFold(all["log_bin"], "ON")
	}},
	{"wsrep_on", "ON", func(value string, all map[string]string) bool {
		provider := all["wsrep_provider"]
		return strings.EqualFold(value, "OFF") && provider != "" && provider != "none"
	}},
	{"innodb_redo_log_enabled", "ON", is("OFF")}, // a status: ALTER INSTANCE DISABLE INNODB REDO_LOG
}

// facts are the variables of a server that the store looks at.
var facts = []string{"version", "max_allowed_packet", "hostname", "port", "server_uid", "server_uuid", "wsrep_node_name",
	"log_bin", "wsrep_provider", "tidb_txn_entry_size_limit",
	"innodb_flush_log_at_trx_commit", "innodb_doublewrite", "innodb_flush_method", "sync_binlog", "wsrep_on"}

// readFacts returns the facts that the server has.
func (c *conn) readFacts(ctx context.Context) (values map[string]string, err error) {
	err = c.Conn.Raw(func(dc any) error {
		values, err = variables(ctx, dc.(driver.Conn), facts...)
		return err
	})
	return values, err
}

// readStatus returns those of the server's status variables that it has.
func (c *conn) readStatus(ctx context.Context, names ...string) (values map[string]string, err error) {
	err = c.Conn.Raw(func(dc any) error {
		values, err = show(ctx, dc.(driver.Conn), "SHOW GLOBAL STATUS WHERE Variable_name IN ('"+strings.Join(names, "','")+"')")
		return err
	})
	return values, err
}

// inspect warns, once each, of what makes a 250 promise less than it says, and
// of a server that is too small for the largest message. A server that only
// speaks the protocol may not have what is read here, and is not warned of.
func (c *conn) inspect(ctx context.Context, s *Store) {
	if need := s.options.MaxMessage + headRoom; s.options.MaxMessage > 0 && need > c.packet {
		s.warn("max_allowed_packet of the MySQL server is below GSMTP_MAX_SIZE",
			"host", c.host.name, "max_allowed_packet", c.packet, "needed", need)
	}
	if isTiDB(c.facts) {
		c.inspectTiDB(s)
	} else {
		c.inspectDurability(ctx, s)
	}
	var engine, mailType string
	if c.QueryRowContext(ctx, "SELECT IFNULL(ENGINE,'') FROM information_schema.TABLES WHERE "+s.table.is()).Scan(&engine) == nil && engine != "" && !strings.EqualFold(engine, "InnoDB") {
		s.warn("MySQL table is not InnoDB", "host", c.host.name, "table", s.table.String(), "engine", engine)
	}
	if c.QueryRowContext(ctx, "SELECT DATA_TYPE FROM information_schema.COLUMNS WHERE "+s.table.is()+" AND COLUMN_NAME='mail'").Scan(&mailType) == nil && strings.Contains(mailType, "text") {
		s.warn("MySQL column mail is a text type", "host", c.host.name, "type", mailType)
	}
}

func (c *conn) inspectDurability(ctx context.Context, s *Store) {
	values := c.facts
	if status, err := c.readStatus(ctx, "Innodb_redo_log_enabled"); err == nil {
		for name, value := range status {
			values[name] = value
		}
	}
	for _, g := range guards {
		if value, known := values[g.name]; known && g.unsafe(value, values) {
			s.once.warn(g.name, "MySQL server setting weakens durability",
				"host", c.host.name, "setting", g.name, "value", value, "safe", g.safe)
		}
	}
}

func isTiDB(facts map[string]string) bool { return strings.Contains(facts["version"], "TiDB") }

// rowLimit is how many bytes a row of TiDB may have unless
// txn-entry-size-limit says otherwise.
const rowLimit = 6 << 20

// inspectTiDB warns of a server whose rows are too small for the largest
// message, which is found out only when one is refused.
func (c *conn) inspectTiDB(s *Store) {
	// 0, the default, stands for a value in the server's configuration.
	limit, err := strconv.ParseInt(c.facts["tidb_txn_entry_size_limit"], 10, 64)
	if err != nil || limit == 0 {
		limit = rowLimit
	}
	if need := s.options.MaxMessage + headRoom; s.options.MaxMessage > 0 && need > limit {
		s.warn("txn-entry-size-limit of TiDB is below GSMTP_MAX_SIZE", "host", c.host.name, "limit", limit, "needed", need)
	}
}
