package mysql

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"goguerrillad/internal/savemail/newmail"

	"github.com/go-sql-driver/mysql"
)

// charset returns a character set of the host's columns, nil for bytes. The
// first time, the server converts all characters to the set and back: tables of
// our own would differ from the server's, and in strict mode an INSERT of a
// character that the set lacks fails, also within CONVERT.
func (c *conn) charset(ctx context.Context, name string) (*newmail.Charset, error) {
	if set, ok := c.host.charsets.Load(name); ok {
		return set.(*newmail.Charset), nil
	}
	var set *newmail.Charset
	switch name {
	case "", "binary":
		return nil, nil
	case "utf8mb4":
		set = newmail.NewCharset(name, 0, nil, true)
	case "utf8mb3", "utf8":
		set = newmail.NewCharset(name, 0, nil, false)
	default:
		var err error
		if set, err = c.learn(ctx, name); err != nil {
			return nil, fmt.Errorf("read the character set %s: %w", name, err)
		}
	}
	kept, _ := c.host.charsets.LoadOrStore(name, set)
	return kept.(*newmail.Charset), nil
}

// learnMost is how many characters one query converts at most.
const learnMost = 4096

// beyond are characters of other planes than the first: a set has all or none
// of those planes.
var beyond = []rune{0x10000, 0x1F600, 0x20000, 0x2A6D6, 0x10FFFF}

// learn returns the set as the server converts it. A server that does not
// convert is taken to have ASCII in the set.
func (c *conn) learn(ctx context.Context, name string) (*newmail.Charset, error) {
	width := 0 // TiDB stores UTF-8 whatever the set is
	if !isTiDB(c.facts) {
		if err := c.QueryRowContext(ctx, "SELECT IFNULL(MAX(MAXLEN),4) FROM information_schema.CHARACTER_SETS WHERE CHARACTER_SET_NAME="+literal(name)).
			Scan(&width); err != nil {
			return nil, err
		}
	}
	// A character is six digits of a literal at most.
	most := rune(max(min(learnMost, c.packet/8), 64))
	has := map[rune]bool{}
	for first := rune(0); first < 1<<16; first += most {
		var some []rune
		for r := first; r < first+most && r < 1<<16; r++ {
			if utf8.ValidRune(r) {
				some = append(some, r)
			}
		}
		if err := c.roundTrip(ctx, name, some, has); err != nil {
			return nil, err
		}
	}
	if err := c.roundTrip(ctx, name, beyond, has); err != nil {
		return nil, err
	}
	all := true
	for _, r := range beyond {
		all = all && has[r]
	}
	return newmail.NewCharset(name, width, func(r rune) bool { return has[r] }, all), nil
}

// roundTrip notes which characters come back unchanged from the set.
func (c *conn) roundTrip(ctx context.Context, name string, some []rune, has map[rune]bool) error {
	if len(some) == 0 {
		return nil
	}
	var back string
	err := c.QueryRowContext(ctx, fmt.Sprintf("SELECT CONVERT(CONVERT(CONVERT(x'%x' USING utf8mb4) USING %s) USING utf8mb4)",
		string(some), quote(name))).Scan(&back)
	if _, refused := errors.AsType[*mysql.MySQLError](err); err != nil && !refused {
		return err
	}
	got := []rune(back)
	for i, r := range some {
		if len(got) == len(some) && got[i] == r || len(got) != len(some) && r < utf8.RuneSelf {
			has[r] = true
		}
	}
	return nil
}
