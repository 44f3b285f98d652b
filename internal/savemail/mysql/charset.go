package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/go-sql-driver/mysql"

	"goguerrillad/internal/savemail/newmail"
)

// charset returns a character set of the host's columns, nil for bytes. At the
// first call for a set, the server converts all characters to the set and back.
// With a built-in table that differs from the server's table, an INSERT in strict
// mode would fail.
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
		if set, err = c.readCharset(ctx, name); err != nil {
			return nil, fmt.Errorf("read the character set %s: %w", name, err)
		}
	}
	first, _ := c.host.charsets.LoadOrStore(name, set)
	return first.(*newmail.Charset), nil
}

// maxCharsPerQuery bounds the characters that one query converts.
const maxCharsPerQuery = 4096

// supplementary are examples of the characters outside the Basic Multilingual
// Plane. A character set has all of these characters or none.
var supplementary = []rune{0x10000, 0x1F600, 0x20000, 0x2A6D6, 0x10FFFF}

// readCharset returns the set with the characters that the server converts to the
// set and back without a change.
func (c *conn) readCharset(ctx context.Context, name string) (*newmail.Charset, error) {
	width := 0 // TiDB stores every set as UTF-8
	if !isTiDB(c.variables) {
		if err := c.QueryRowContext(ctx, "SELECT IFNULL(MAX(MAXLEN),4) FROM information_schema.CHARACTER_SETS WHERE CHARACTER_SET_NAME="+literal(name)).
			Scan(&width); err != nil {
			return nil, err
		}
	}
	// A character takes at most six digits of a literal.
	step := rune(max(min(maxCharsPerQuery, c.maxPacket/8), 64))
	has := map[rune]bool{}
	for first := rune(0); first < 1<<16; first += step {
		var chars []rune
		for r := first; r < first+step && r < 1<<16; r++ {
			if utf8.ValidRune(r) {
				chars = append(chars, r)
			}
		}
		if err := c.roundTrip(ctx, name, chars, has); err != nil {
			return nil, err
		}
	}
	if err := c.roundTrip(ctx, name, supplementary, has); err != nil {
		return nil, err
	}
	all := !slices.ContainsFunc(supplementary, func(r rune) bool { return !has[r] })
	return newmail.NewCharset(name, width, func(r rune) bool { return has[r] }, all), nil
}

// roundTrip converts characters to the set and back, and adds the unchanged
// characters to has. If the server cannot convert them, it adds those of ASCII.
func (c *conn) roundTrip(ctx context.Context, name string, chars []rune, has map[rune]bool) error {
	if len(chars) == 0 {
		return nil
	}
	var converted string
	err := c.QueryRowContext(ctx, fmt.Sprintf("SELECT CONVERT(CONVERT(CONVERT(x'%x' USING utf8mb4) USING %s) USING utf8mb4)",
		string(chars), quote(name))).Scan(&converted)
	if _, refused := errors.AsType[*mysql.MySQLError](err); err != nil && !refused {
		return err
	}
	got := []rune(converted)
	for i, r := range chars {
		if len(got) == len(chars) && got[i] == r || len(got) != len(chars) && r < utf8.RuneSelf {
			has[r] = true
		}
	}
	return nil
}
