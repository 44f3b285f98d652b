package mysql

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// headerRoom is the largest size in bytes of the added header lines.
const headerRoom = 4096

// A durabilitySetting is a variable of the server on which the durability of a
// commit depends. Only an operator can change it.
type durabilitySetting struct {
	name   string
	safe   string // the recommended value
	unsafe func(value string, all map[string]string) bool
}

// valueIn returns a function that reports whether a value is one of values.
func valueIn(values ...string) func(string, map[string]string) bool {
	return func(value string, _ map[string]string) bool {
		return slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(v, value) })
	}
}

var durabilitySettings = []durabilitySetting{
	// In MariaDB, 3 syncs at least as often as 1.
	{"innodb_flush_log_at_trx_commit", "1", valueIn("0", "2")},
	{"innodb_doublewrite", "ON", valueIn("OFF", "0", "DETECT_ONLY")},
	{"innodb_flush_method", "O_DIRECT", valueIn("nosync", "littlesync", "O_DIRECT_NO_FSYNC")},
	{"sync_binlog", "1", func(value string, all map[string]string) bool {
		return value != "1" && strings.EqualFold(all["log_bin"], "ON")
	}},
	{"wsrep_on", "ON", func(value string, all map[string]string) bool {
		provider := all["wsrep_provider"]
		return strings.EqualFold(value, "OFF") && provider != "" && provider != "none"
	}},
	{"innodb_redo_log_enabled", "ON", valueIn("OFF")}, // a status variable, OFF after ALTER INSTANCE DISABLE INNODB REDO_LOG
}

// variableNames are the server's variables that the store uses.
var variableNames = []string{"version", "max_allowed_packet", "hostname", "port", "server_uid", "server_uuid", "wsrep_node_name",
	"group_replication_group_name", "log_bin", "wsrep_provider", "tidb_txn_entry_size_limit",
	"innodb_flush_log_at_trx_commit", "innodb_doublewrite", "innodb_flush_method", "sync_binlog", "wsrep_on"}

// readVariables returns the variables in variableNames that the server has.
func (c *conn) readVariables(ctx context.Context) (values map[string]string, err error) {
	err = c.Conn.Raw(func(dc any) error {
		values, err = showVariables(ctx, dc.(*safeConn), variableNames...)
		return err
	})
	return values, err
}

// readStatus returns the named status variables that the server has.
func (c *conn) readStatus(ctx context.Context, names ...string) (values map[string]string, err error) {
	err = c.Conn.Raw(func(dc any) error {
		values, err = show(ctx, dc.(*safeConn), "SHOW GLOBAL STATUS WHERE Variable_name IN ('"+strings.Join(names, "','")+"')")
		return err
	})
	return values, err
}

// largestMail returns the largest size in bytes of the column mail, 0 if it is
// unknown.
func (o Options) largestMail() int64 {
	if o.MaxMessage == 0 {
		return 0
	}
	return o.MaxMessage + headerRoom
}

// checkServer logs a warning about each setting that weakens durability and each
// limit below the largest message. It ignores errors, because a server that is
// only compatible with MySQL may lack these variables and tables.
func (c *conn) checkServer(ctx context.Context, s *Store) {
	if largest := s.options.largestMail(); largest > 0 && largest+packetMargin > c.maxPacket {
		needed := (largest + packetMargin + 1<<20 - 1) >> 20 << 20 // whole MiB
		s.warnOnce("max_allowed_packet of the MySQL server is below GSMTP_MAX_SIZE", "host", c.host.name,
			"max_allowed_packet", c.maxPacket, "needed", needed, "statement", fmt.Sprint("SET GLOBAL max_allowed_packet=", needed))
	}
	if isTiDB(c.variables) {
		c.checkTiDBRowSize(s)
	} else {
		c.checkDurability(ctx, s)
	}
	if engine, err := c.engine(ctx, s.table); err == nil && engine != "" && !strings.EqualFold(engine, innoDB) {
		s.warnOnce("MySQL table is not InnoDB", "host", c.host.name, "table", s.table.String(), "engine", engine)
	}
	var mailType string
	if c.QueryRowContext(ctx, "SELECT DATA_TYPE FROM information_schema.COLUMNS WHERE "+s.table.condition()+" AND COLUMN_NAME='mail'").Scan(&mailType) == nil && strings.Contains(mailType, "text") {
		s.warnOnce("MySQL column mail is a text type", "host", c.host.name, "type", mailType)
	}
}

const innoDB = "InnoDB"

// engine returns the storage engine of the table, "" for a view.
func (c *conn) engine(ctx context.Context, t table) (name string, err error) {
	if err = c.QueryRowContext(ctx, "SELECT IFNULL(ENGINE,'') FROM information_schema.TABLES WHERE "+t.condition()).Scan(&name); err != nil {
		err = fmt.Errorf("read the engine of %s: %w", t, err)
	}
	return name, err
}

func (c *conn) checkDurability(ctx context.Context, s *Store) {
	if status, err := c.readStatus(ctx, "Innodb_redo_log_enabled"); err == nil {
		maps.Copy(c.variables, status)
	}
	for _, d := range durabilitySettings {
		if value, known := c.variables[d.name]; known && d.unsafe(value, c.variables) {
			s.onceLog.warn(d.name, "MySQL server setting weakens durability",
				"host", c.host.name, "setting", d.name, "value", value, "safe", d.safe)
		}
	}
}

func isTiDB(variables map[string]string) bool { return strings.Contains(variables["version"], "TiDB") }

// tidbRowSize is the default of TiDB's txn-entry-size-limit, in bytes.
const tidbRowSize = 6 << 20

// checkTiDBRowSize logs a warning if the largest message does not fit a row.
func (c *conn) checkTiDBRowSize(s *Store) {
	// 0 means the value in the server's configuration file, which is unknown.
	limit, err := strconv.ParseInt(c.variables["tidb_txn_entry_size_limit"], 10, 64)
	if err != nil || limit == 0 {
		limit = tidbRowSize
	}
	if need := s.options.largestMail(); need > limit {
		s.warnOnce("txn-entry-size-limit of TiDB is below GSMTP_MAX_SIZE", "host", c.host.name, "limit", limit, "needed", need)
	}
}
