package postgres

import (
	"context"
	"slices"
)

// safeSettings are the server's settings on which the durability of a commit depends, with
// the values that keep it. The store itself replaces synchronous_commit=off by on.
var safeSettings = map[string][]string{
	"fsync":              {"on"},
	"full_page_writes":   {"on"},
	"synchronous_commit": {"on", "remote_apply"},
}

// checkServer logs a warning about each setting that weakens durability, about a table without
// WAL, and about a table on another server.
func (c *conn) checkServer(ctx context.Context, s *Store) {
	for name, safe := range safeSettings {
		var value string
		if c.QueryRow(ctx, "SELECT current_setting($1::text)", name).Scan(&value) == nil && !slices.Contains(safe, value) {
			s.warnOnce(name, "PostgreSQL setting weakens durability", "setting", name, "value", value, "safe", safe[0])
		}
	}
	if tables := c.partitions(ctx, s.table, "relpersistence = 'u' AND relkind = 'r'"); tables != "" {
		s.warnOnce("unlogged: "+tables, "PostgreSQL table is UNLOGGED, a crash empties it", "tables", tables)
	}
	if tables := c.partitions(ctx, s.table, "relkind = 'f'"); tables != "" {
		c.foreign = true
		s.warnOnce("foreign: "+tables, "PostgreSQL table is on another server, lost commits are settled by the wrong server", "tables", tables)
	}
}

// partitions returns the names of the table and its partitions that meet a condition of pg_class.
func (c *conn) partitions(ctx context.Context, t table, condition string) (names string) {
	// An error returns no names: the check is not worth a failed connection.
	_ = c.QueryRow(ctx, `SELECT coalesce(string_agg(oid::regclass::text, ', ' ORDER BY oid), '') FROM pg_class WHERE `+condition+`
		AND (oid = to_regclass($1::text) OR oid IN (SELECT relid FROM pg_partition_tree(to_regclass($1::text))))`, t.String()).Scan(&names)
	return names
}
