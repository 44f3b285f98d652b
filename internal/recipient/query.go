// Package recipient decides by a query of the operator's who receives: a
// recipient for whom the database has a row is accepted. Answers are kept for
// a while, and whoever asks the same at the same time shares one query.
package recipient

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Dialect is how a database reads a statement.
type Dialect uint8

// The dialects differ in what a parameter may hide in.
const (
	MySQL  Dialect = iota // MariaDB and TiDB as well: \ in strings, # begins a comment
	SQLite                // [ quotes a name; @x and $x are parameters
)

// A Query is a statement with the parameters :address and :domain, ready to be
// prepared.
type Query struct {
	SQL  string // with a ? for each parameter
	args []parameter
}

type parameter uint8

const (
	address parameter = iota
	domain
)

// Parse reads one statement. What stands in strings, quoted names and comments
// is left as it is. The error says what is wrong, without the text.
func Parse(text string, d Dialect) (Query, error) {
	s := scanner{text: text, dialect: d}
	for s.at < len(s.text) {
		if err := s.step(); err != nil {
			return Query{}, err
		}
	}
	s.take(len(s.text))
	switch verb := strings.ToUpper(s.verb); {
	case strings.TrimSpace(s.out.String()) == "":
		return Query{}, errors.New("has no statement")
	case verb == "CALL" && d == MySQL: // a procedure may have rows
	case !slices.Contains([]string{"SELECT", "WITH", "VALUES", "TABLE"}, verb):
		return Query{}, errors.New("does not begin with SELECT")
	}
	return Query{SQL: s.out.String(), args: s.args}, nil
}

// Asks reports whether the query has a parameter at all: without one it says
// the same of every recipient.
func (q Query) Asks() bool { return len(q.args) > 0 }

// Args are the values to bind, in order.
func (q Query) Args(to, at string) []any {
	args := make([]any, len(q.args))
	for i, p := range q.args {
		args[i] = to
		if p == domain {
			args[i] = at
		}
	}
	return args
}

// A scanner goes through a statement. What lies between done and at is copied
// unchanged.
type scanner struct {
	text     string
	dialect  Dialect
	at, done int
	verb     string // the first word
	out      strings.Builder
	args     []parameter
}

// take copies what is before end, and goes on there.
func (s *scanner) take(end int) {
	s.out.WriteString(s.text[s.done:end])
	s.at, s.done = end, end
}

// step passes one character, word, string or comment.
func (s *scanner) step() error {
	rest := s.text[s.at:]
	switch c := rest[0]; {
	case c == '\'' || c == '"' || c == '`':
		return s.quoted(c)
	case c == '[' && s.dialect == SQLite:
		return s.quoted(']')
	case strings.HasPrefix(rest, "/*"):
		return s.until("*/", "has a comment that does not end")
	case c == '#' && s.dialect == MySQL, strings.HasPrefix(rest, "--") && s.dashes(rest[2:]):
		end := strings.IndexByte(rest, '\n')
		if end < 0 {
			end = len(rest)
		}
		s.at += end
	case c == ';':
		return s.end()
	case c == '?', s.dialect == SQLite && (c == '@' || c == '$'):
		return fmt.Errorf("has the parameter %c", c)
	case c == ':' && len(rest) > 1 && isWord(rest[1]):
		return s.parameter()
	case isWord(c):
		n := word(rest)
		if s.verb == "" {
			s.verb = rest[:n]
		}
		s.at += n
	default:
		s.at++
	}
	return nil
}

// dashes reports whether -- begins a comment before rest.
func (s *scanner) dashes(rest string) bool {
	return s.dialect == SQLite || rest == "" || rest[0] <= ' '
}

// quoted passes a string or name. The quote twice stands for itself, which
// reads as the end of one and the beginning of another.
func (s *scanner) quoted(quote byte) error {
	for i := s.at + 1; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '\\' && s.dialect == MySQL && quote != '`':
			i++
		case c == quote:
			s.at = i + 1
			return nil
		}
	}
	return errors.New("has a quote that does not end")
}

func (s *scanner) until(mark, problem string) error {
	length := len("/*")
	i := strings.Index(s.text[s.at+length:], mark)
	if i < 0 {
		return errors.New(problem)
	}
	s.at += length + i + len(mark)
	return nil
}

// end takes a semicolon away that nothing follows.
func (s *scanner) end() error {
	if strings.TrimSpace(s.text[s.at+1:]) != "" {
		return errors.New("has something behind its ;")
	}
	s.text = s.text[:s.at]
	return nil
}

func (s *scanner) parameter() error {
	start := s.at
	end := start + 1 + word(s.text[start+1:])
	switch name := s.text[start:end]; name {
	case ":address":
		s.args = append(s.args, address)
	case ":domain":
		s.args = append(s.args, domain)
	default:
		return fmt.Errorf("has the parameter %s", name)
	}
	s.take(start)
	s.out.WriteByte('?')
	s.at, s.done = end, end
	return nil
}

// word returns the length of the word that s begins with.
func word(s string) int {
	i := 0
	for i < len(s) && (isWord(s[i]) || s[i] == '$') {
		i++
	}
	return i
}

func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c >= 0x80
}
