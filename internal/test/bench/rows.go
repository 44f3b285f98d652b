package main

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A dialect has the SQL of a database for probeRows.
type dialect struct {
	quote string // quotes a name
	many  string // SELECT of the numbers 1 to the parameter, as n
	hash  string // expression with n and the number of rows before, %d, for a hash as the daemon makes it: 64 rows share the first four digits

	no        any                // value of a boolean, and its literal
	parameter func(n int) string // of a statement, from 1
}

func questionMark(int) string { return "?" }

func numbered(n int) string { return fmt.Sprint("$", n) }

// columns returns the names of the columns that the probes fill, except date.
func columns() []string {
	return []string{"to", "from", "subject", "body", "charset", "mail", "spam_score", "hash", "content_type", "recipient",
		"has_attach", "ip_addr", "attach_info", "delivered"}
}

// probeRows sets commit and fill of a server with a table.
func probeRows(s *server, db *sql.DB, d dialect) {
	names := columns()
	hash := slices.Index(names, "hash")
	insert := fmt.Sprintf("INSERT INTO new_mail (%[1]sdate%[1]s,%[1]s%[2]s%[1]s) ", d.quote, strings.Join(names, d.quote+","+d.quote))
	s.commit = func(ctx context.Context, n int, pause time.Duration) (time.Duration, error) {
		row := []any{"test@example.com", "a@b.com", "benchmark", "", "", []byte(constant(5000)[0]), 0, "", "", "test@example.com", d.no, "127.0.0.1", "", d.no}
		conn, err := db.Conn(ctx)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		values := "CURRENT_TIMESTAMP"
		for i := range names {
			values += "," + d.parameter(i+1)
		}
		statement, err := conn.PrepareContext(ctx, insert+"VALUES ("+values+")")
		if err != nil {
			return 0, fmt.Errorf("prepare an INSERT: %w", err)
		}
		defer statement.Close()
		took := make([]time.Duration, n)
		for i := range took {
			time.Sleep(pause)
			row[hash] = fmt.Sprintf("%032x", time.Now().UnixNano())
			begun := time.Now()
			if _, err := statement.ExecContext(ctx, row...); err != nil {
				return 0, fmt.Errorf("insert a row: %w", err)
			}
			took[i] = time.Since(begun)
		}
		slices.Sort(took)
		return took[n/2], nil
	}
	s.fill = func(ctx context.Context, n int, date string) error {
		const perTransaction = 100_000 // rows
		for done := 0; done < n; done += perTransaction {
			values := []string{"'test@example.com'", "'a@b.com'", "'benchmark'", "''", "''", "'" + string(constant(500)[0]) + "'", "0",
				fmt.Sprintf(d.hash, done), "''", "'test@example.com'", fmt.Sprint(d.no), "'127.0.0.1'", "''", fmt.Sprint(d.no)}
			fill := insert + "SELECT " + date + "," + strings.Join(values, ",") + " FROM (" + d.many + ") AS numbers"
			if _, err := db.ExecContext(ctx, fill, min(perTransaction, n-done)); err != nil {
				return err
			}
		}
		return nil
	}
}
