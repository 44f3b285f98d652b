// Package recipient accepts or refuses recipients by an operator's SQL query: a
// recipient is accepted if the query returns a row. Answers are cached, and
// concurrent lookups of the same recipient share one query.
package recipient

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Dialect is the SQL syntax of a database.
type Dialect uint8

// The dialects differ in the syntax of strings, names, comments and parameters.
const (
	MySQL    Dialect = iota // also MariaDB and TiDB: \ escapes in strings, # starts a comment
	SQLite                  // [ quotes a name; @x and $x are parameters
	Postgres                // E'' has escapes; $x$ quotes; :: is a cast; comments nest
)

// A Query is a parsed statement with the parameters :address and :domain.
type Query struct {
	SQL  string // with a ? for each parameter, or $1, $2 and so on in Postgres
	args []parameter
}

type parameter uint8

const (
	addressParameter parameter = iota
	domainParameter
)

// Parse parses one statement. It does not change strings, quoted names and
// comments. An error states the problem as a predicate, such as "has no
// statement", and does not contain the text.
func Parse(text string, d Dialect) (Query, error) {
	s := scanner{text: text, dialect: d}
	for s.pos < len(s.text) {
		if err := s.step(); err != nil {
			return Query{}, err
		}
	}
	s.copyTo(len(s.text))
	switch verb := strings.ToUpper(s.verb); {
	case strings.TrimSpace(s.out.String()) == "":
		return Query{}, errors.New("has no statement")
	case verb == "CALL" && d == MySQL: // a procedure can return rows
	case !slices.Contains([]string{"SELECT", "WITH", "VALUES", "TABLE"}, verb):
		return Query{}, errors.New("does not begin with SELECT")
	}
	return Query{SQL: s.out.String(), args: s.args}, nil
}

// HasParameters reports whether the query has a parameter. Without parameters,
// its answer is the same for every recipient.
func (q Query) HasParameters() bool { return len(q.args) > 0 }

// Args returns the values to bind, in the order of the ? in SQL.
func (q Query) Args(address, domain string) []any {
	args := make([]any, len(q.args))
	for i, p := range q.args {
		args[i] = address
		if p == domainParameter {
			args[i] = domain
		}
	}
	return args
}

// A scanner reads a statement and writes it to out with its parameters replaced.
type scanner struct {
	text    string
	dialect Dialect
	pos     int    // offset in text
	copied  int    // bytes of text that are in out
	verb    string // the first word
	out     strings.Builder
	args    []parameter
}

// copyTo copies the text before end to out and continues at end.
func (s *scanner) copyTo(end int) {
	s.out.WriteString(s.text[s.copied:end])
	s.pos, s.copied = end, end
}

// step reads one character, word, string or comment.
func (s *scanner) step() error {
	rest := s.text[s.pos:]
	switch c := rest[0]; {
	case c == '\'' || c == '"' || c == '`' && s.dialect != Postgres:
		return s.quoted(c)
	case s.dialect == Postgres && strings.HasPrefix(rest, "::"):
		s.pos += len("::")
	case s.dialect == Postgres && c == '$':
		return s.dollarQuoted()
	case c == '[' && s.dialect == SQLite:
		return s.quoted(']')
	case strings.HasPrefix(rest, "/*"):
		return s.comment()
	case c == '#' && s.dialect == MySQL, strings.HasPrefix(rest, "--") && s.dashes(rest[2:]):
		end := strings.IndexByte(rest, '\n')
		if end < 0 {
			end = len(rest)
		}
		s.pos += end
	case c == ';':
		return s.end()
	case c == '?' && s.dialect != Postgres, s.dialect == SQLite && (c == '@' || c == '$'):
		return fmt.Errorf("has the parameter %c", c)
	case c == ':' && len(rest) > 1 && isWordByte(rest[1]):
		return s.parameter()
	case isWordByte(c):
		n := wordLen(rest)
		if s.dialect == Postgres && strings.EqualFold(rest[:n], "E") && len(rest) > n && rest[n] == '\'' {
			s.pos += n
			return s.escaped()
		}
		if s.verb == "" {
			s.verb = rest[:n]
		}
		s.pos += n
	default:
		s.pos++
	}
	return nil
}

// dashes reports whether -- before rest starts a comment.
func (s *scanner) dashes(rest string) bool {
	return s.dialect != MySQL || rest == "" || rest[0] <= ' '
}

// dollarQuoted reads a string between two $tag$ (PostgreSQL's manual, section 4.1.2.4).
func (s *scanner) dollarQuoted() error {
	tag := 1
	for tag < len(s.text)-s.pos && isWordByte(s.text[s.pos+tag]) {
		tag++
	}
	quote := s.text[s.pos:min(s.pos+tag+1, len(s.text))]
	if !strings.HasSuffix(quote, "$") || len(quote) > 2 && quote[1] <= '9' {
		return errors.New("has the parameter $")
	}
	i := strings.Index(s.text[s.pos+len(quote):], quote)
	if i < 0 {
		return errors.New("has a quote that does not end")
	}
	s.pos += i + 2*len(quote)
	return nil
}

// escaped reads a string in which \ escapes.
func (s *scanner) escaped() error {
	for i := s.pos + 1; i < len(s.text); i++ {
		switch s.text[i] {
		case '\\':
			i++
		case '\'':
			s.pos = i + 1
			return nil
		}
	}
	return errors.New("has a quote that does not end")
}

// quoted reads a string or a quoted name. It reads a doubled quote inside as the end
// of one string and the start of the next, with the same result.
func (s *scanner) quoted(quote byte) error {
	for i := s.pos + 1; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '\\' && s.dialect == MySQL && quote != '`':
			i++
		case c == quote:
			s.pos = i + 1
			return nil
		}
	}
	return errors.New("has a quote that does not end")
}

// comment reads a comment from /* to */.
func (s *scanner) comment() error {
	for depth, i := 1, s.pos+len("/*"); ; {
		end := strings.Index(s.text[i:], "*/")
		if end < 0 {
			return errors.New("has a comment that does not end")
		}
		if begin := strings.Index(s.text[i:i+end], "/*"); begin >= 0 && s.dialect == Postgres {
			depth++
			i += begin + len("/*")
			continue
		}
		depth--
		if i += end + len("*/"); depth == 0 {
			s.pos = i
			return nil
		}
	}
}

// end removes a semicolon at the end of the statement.
func (s *scanner) end() error {
	if strings.TrimSpace(s.text[s.pos+1:]) != "" {
		return errors.New("has text after the semicolon")
	}
	s.text = s.text[:s.pos]
	return nil
}

// parameter replaces a parameter.
func (s *scanner) parameter() error {
	start := s.pos
	end := start + 1 + wordLen(s.text[start+1:])
	switch name := s.text[start:end]; name {
	case ":address":
		s.args = append(s.args, addressParameter)
	case ":domain":
		s.args = append(s.args, domainParameter)
	default:
		return fmt.Errorf("has the parameter %s", name)
	}
	s.copyTo(start)
	if s.dialect == Postgres {
		fmt.Fprintf(&s.out, "$%d", len(s.args))
	} else {
		s.out.WriteByte('?')
	}
	s.pos, s.copied = end, end
	return nil
}

// wordLen returns the length of the wordLen at the start of s.
func wordLen(s string) int {
	i := 0
	for i < len(s) && (isWordByte(s[i]) || s[i] == '$') {
		i++
	}
	return i
}

func isWordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c >= 0x80
}
