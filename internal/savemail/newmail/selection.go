package newmail

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"goguerrillad/internal/savemail"
)

// A Selection makes the expressions of a SELECT from the columns that a table has.
type Selection struct {
	Names []string                 // of the table's columns
	Quote func(name string) string // quotes a name
}

// Column returns the first of these columns that the table has, or NULL. Names match
// in any case.
func (s Selection) Column(columns ...string) string {
	for _, c := range columns {
		if i := slices.IndexFunc(s.Names, func(name string) bool { return strings.EqualFold(name, c) }); i >= 0 {
			return s.Quote(s.Names[i])
		}
	}
	return "NULL"
}

// Text is Column with an empty text in place of NULL.
func (s Selection) Text(columns ...string) string { return "COALESCE(" + s.Column(columns...) + ",'')" }

// Where returns the WHERE clause of a filter and its parameters, "" for all rows. The
// expression since, with one parameter, is the earliest date. The table of the daemon has an
// index on to and on date.
func (s Selection) Where(f savemail.Filter, since string, date any) (clause string, args []any) {
	var conditions []string
	add := func(condition string, arg any) {
		conditions, args = append(conditions, condition), append(args, arg)
	}
	if f.To != "" {
		add(s.Column("to", "recipient")+"=?", f.To)
	}
	if f.From != "" {
		add(s.Column("from", "return_path")+"=?", f.From)
	}
	if !f.Since.IsZero() {
		add(s.Column("date")+">="+since, date)
	}
	if conditions == nil {
		return "", nil
	}
	return " WHERE " + strings.Join(conditions, " AND "), args
}

// Hashes returns the rows of a query with one column.
func Hashes(rows *sql.Rows, err error) (list []string, _ error) {
	if err != nil {
		return nil, fmt.Errorf("read the table: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var hash string
		err = errors.Join(err, rows.Scan(&hash))
		list = append(list, hash)
	}
	if err := errors.Join(err, rows.Err()); err != nil {
		return nil, fmt.Errorf("read the table: %w", err)
	}
	return list, nil
}
