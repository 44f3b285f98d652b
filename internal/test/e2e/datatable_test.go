package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"goguerrillad/internal/test/servers"
)

// sqlModes returns values of sql_mode that the server has.
func sqlModes() []string {
	modes := []string{"", "STRICT_ALL_TABLES", "TRADITIONAL", "ANSI", "NO_BACKSLASH_ESCAPES", "PAD_CHAR_TO_FULL_LENGTH,STRICT_TRANS_TABLES"}
	if !servers.MySQL {
		modes = append(modes, "EMPTY_STRING_IS_NULL")
	}
	return modes
}

// A textColumn is a column for text.
type textColumn struct {
	kind  string // varchar, char, tinytext, text, varbinary
	width int    // characters, or bytes of a varbinary; 0 if the kind has no width
}

func (c textColumn) String() string {
	if c.width > 0 {
		return fmt.Sprintf("%s(%d)", c.kind, c.width)
	}
	return c.kind
}

// A dataTable is the definition of a table.
type dataTable struct {
	set, collation string
	maxWidth       int // bytes of the longest character of the set
	text           map[string]textColumn
	mail           string // type of the column mail
}

// columns returns a table with columns of random types and widths.
func (v values) columns(set, collation string) *dataTable {
	d := &dataTable{set: set, collation: collation, text: map[string]textColumn{}, mail: []string{"longblob", "mediumblob", "longtext"}[v.IntN(3)]}
	for _, c := range []struct {
		name        string
		least, most int
	}{
		{"from", 1, 255}, {"to", 12, 255}, {"recipient", 30, 255}, {"subject", 1, 300}, {"body", 8, 20}, {"charset", 1, 40},
		{"content_type", 1, 80}, {"ip_addr", 9, 45}, {"attach_info", 2, 400},
	} {
		kind := []string{"varchar", "varchar", "varchar", "char", "tinytext", "text", "varbinary"}[v.IntN(7)]
		width := c.least + v.IntN(c.most-c.least+1)
		switch kind {
		case "char":
			if width = min(width, 60); set == "binary" { // a binary CHAR is padded with NUL
				kind = "varchar"
			}
		case "tinytext", "text":
			width = 0
		}
		d.text[c.name] = textColumn{kind, width}
	}
	return d
}

// inBytes reports whether a column holds bytes.
func (d *dataTable) inBytes(column string) bool {
	return d.set == "binary" || d.text[column].kind == "varbinary"
}

func (d *dataTable) create(name string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(d.text)) {
		fmt.Fprintf(&b, "`%s` %s NOT NULL, ", name, d.text[name])
	}
	return "CREATE TABLE " + name + " (mail_id int NOT NULL auto_increment PRIMARY KEY, `date` datetime NOT NULL, " + b.String() +
		"mail " + d.mail + " NOT NULL, spam_score float NOT NULL, hash char(32) NOT NULL, has_attach int NOT NULL, KEY (hash))" +
		" ENGINE=InnoDB DEFAULT CHARSET=" + d.set + " COLLATE=" + d.collation
}
