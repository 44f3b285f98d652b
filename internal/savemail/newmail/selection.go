package newmail

import (
	"slices"
	"strings"
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
