package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error reports a mistake in the configuration with its position, and what would
// be right. Its text is one line and never contains a secret.
type Error struct {
	File    string
	Line    int    // from 1; 0 if the mistake has no position in the file
	Column  int    // in characters, from 1
	Key     string // "" if the mistake concerns no key
	Value   string // the wrong value or list element; "" if it is secret or unknown
	Problem string // continues "KEY: VALUE "
	Want    string // what would be right
	Cause   error  // further facts for errors.As, nil if there are none
}

func (e *Error) Unwrap() error { return e.Cause }

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(Printable(e.File))
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(Printable(e.Key) + ": ")
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

// fault is a mistake whose key and position are not known yet.
type fault struct {
	value   string // wrong list element, "" if the whole value is wrong
	hide    bool   // the error must not contain the value
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

// Invalid returns the error of a parser of values. problem continues the sentence
// that begins with the value; want states what would be right.
func Invalid(problem, want string) error { return &fault{problem: problem, want: want} }

// maxQuoted is how many characters of a value an error repeats.
const maxQuoted = 100

// quote quotes text on one line and escapes characters that are not printable.
func quote(s string) string {
	if utf8.RuneCountInString(s) > maxQuoted {
		s = string([]rune(s)[:maxQuoted]) + "..."
	}
	return strconv.Quote(s)
}

// Printable returns s unchanged if it is short and printable, else quoted.
func Printable(s string) string {
	if q := quote(s); q != `"`+s+`"` || s == "" {
		return q
	}
	return s
}

// Position returns the line and column of a byte offset, the column in characters.
func Position(data []byte, offset int) (line, column int) {
	offset = min(max(offset, 0), len(data))
	before := string(data[:offset])
	start := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[start:]) + 1
}
