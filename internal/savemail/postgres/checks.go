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

// checkServer logs a warning about each setting that weakens durability, and about a table
// without WAL.
func (c *conn) checkServer(ctx context.Context, s *Store) {
	for name, safe := range safeSettings {
		var value string
		if c.QueryRow(ctx, "SELECT current_setting($1::text)", name).Scan(&value) == nil && !slices.Contains(safe, value) {
			s.warnOnce(name, "PostgreSQL setting weakens durability", "setting", name, "value", value, "safe", safe[0])
		}
	}
	var unlogged string
	if c.QueryRow(ctx, `SELECT coalesce(string_agg(oid::regclass::text, ', ' ORDER BY oid), '') FROM pg_class WHERE relpersistence = 'u' AND relkind = 'r'
		AND (oid = to_regclass($1::text) OR oid IN (SELECT relid FROM pg_partition_tree(to_regclass($1::text))))`, s.table.String()).Scan(&unlogged) == nil && unlogged != "" {
		s.warnOnce("unlogged: "+unlogged, "PostgreSQL table is UNLOGGED, a crash empties it", "tables", unlogged)
	}
}
