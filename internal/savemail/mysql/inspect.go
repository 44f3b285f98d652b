package mysql

import (
	"context"
	"fmt"
	"strings"
)

// headRoom is what the added header lines may need beside a message, in bytes.
const headRoom = 4096

// inspect warns, once each, of what makes a 250 promise less than it says, and
// of a server that is too small for the largest message. What a server does
// not know of itself, such as one that only speaks the protocol, is no reason
// to warn.
func (c *conn) inspect(ctx context.Context, s *Store) {
	if need := s.options.MaxMessage + headRoom; s.options.MaxMessage > 0 && need > c.packet {
		s.warn("messages near GSMTP_MAX_SIZE cannot be stored: raise max_allowed_packet of the MySQL server",
			"host", c.host.name, "max_allowed_packet", c.packet, "needed", need)
	}
	c.inspectTiDB(ctx, s)
	var flush, logBin, sync int
	if c.QueryRowContext(ctx, "SELECT @@innodb_flush_log_at_trx_commit").Scan(&flush) == nil && flush != 1 {
		s.warn("a 250 does not promise that the mail survives a crash of the database's machine: innodb_flush_log_at_trx_commit is not 1",
			"host", c.host.name, "innodb_flush_log_at_trx_commit", flush)
	}
	if c.QueryRowContext(ctx, "SELECT @@log_bin, @@sync_binlog").Scan(&logBin, &sync) == nil && logBin != 0 && sync != 1 {
		s.warn("a 250 does not promise that the binary log, and so a replica, has the mail after a crash of the database's machine: sync_binlog is not 1",
			"host", c.host.name, "sync_binlog", sync)
	}
	var engine, mailType string
	if c.QueryRowContext(ctx, "SELECT IFNULL(ENGINE,'') FROM information_schema.TABLES WHERE "+s.table.is()).Scan(&engine) == nil && engine != "" && !strings.EqualFold(engine, "InnoDB") {
		s.warn(fmt.Sprintf("a 250 does not promise that the mail survives a crash, nor that all recipients of a mail are stored or none: the table %s is not InnoDB", s.table),
			"host", c.host.name, "engine", engine)
	}
	if c.QueryRowContext(ctx, "SELECT DATA_TYPE FROM information_schema.COLUMNS WHERE "+s.table.is()+" AND COLUMN_NAME='mail'").Scan(&mailType) == nil && strings.Contains(mailType, "text") {
		s.warn("the column mail should be a longblob: a text column does not take every byte", "host", c.host.name, "type", mailType)
	}
}

// rowLimit is how many bytes a row of TiDB may have unless
// txn-entry-size-limit says otherwise.
const rowLimit = 6 << 20

// inspectTiDB warns of a server whose rows are too small for the largest
// message, which is found out only when one is refused.
func (c *conn) inspectTiDB(ctx context.Context, s *Store) {
	var version string
	if c.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version) != nil || !strings.Contains(version, "TiDB") {
		return
	}
	limit := int64(0)
	// 0 stands for the server's configuration, which not everybody may read.
	if c.QueryRowContext(ctx, "SELECT @@tidb_txn_entry_size_limit").Scan(&limit) != nil || limit == 0 {
		limit = rowLimit
	}
	if need := s.options.MaxMessage + headRoom; s.options.MaxMessage > 0 && need > limit {
		s.warn("messages near GSMTP_MAX_SIZE may be too large for a row of TiDB: raise txn-entry-size-limit",
			"host", c.host.name, "limit", limit, "needed", need)
	}
}
