package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error says what is wrong with the configuration, where, and what would be
// right. It is one line, and it never holds a secret.
type Error struct {
	File    string
	Line    int    // from 1; 0 when the mistake has no place in the file
	Column  int    // in characters, from 1
	Key     string // "" when no key is meant
	Value   string // the value or the element of a list that is wrong; "" when it is secret or not known
	Problem string // continues "KEY: VALUE "
	Want    string // what would be right
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(printable(e.File))
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(printable(e.Key) + ": ")
	}
	if e.Value != "" {
		b.WriteString(quote(e.Value) + " ")
	}
	b.WriteString(e.Problem)
	if e.Want != "" {
		b.WriteString(": " + e.Want)
	}
	return b.String()
}

// fault is a mistake before its place is known.
type fault struct {
	value   string // what is wrong, when that is only a part of the whole value
	hide    bool   // the value must not be shown
	problem string
	want    string
}

func (f *fault) Error() string {
	text := f.problem
	if f.value != "" {
		text = quote(f.value) + " " + text
	}
	if f.want != "" {
		text += ": " + f.want
	}
	return text
}

// Invalid returns the error of a parser: what is wrong with the value, and what
// would be right.
func Invalid(problem, want string) error { return &fault{problem: problem, want: want} }

// maxQuoted bounds how much of a value is repeated in a message, in
// characters.
const maxQuoted = 100

// quote shows text that an operator wrote, on one line and with nothing in it
// that a terminal would obey.
func quote(s string) string {
	if utf8.RuneCountInString(s) > maxQuoted {
		s = string([]rune(s)[:maxQuoted]) + "..."
	}
	return strconv.Quote(s)
}

// printable shows s bare where it is harmless, else quoted.
func printable(s string) string {
	if q := quote(s); q != `"`+s+`"` || s == "" {
		return q
	}
	return s
}

// position turns a byte offset into line and column, the column in characters.
func position(data []byte, offset int) (line, column int) {
	offset = min(max(offset, 0), len(data))
	before := string(data[:offset])
	start := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[start:]) + 1
}
