package newmail

import "unicode/utf8"

// plane is the number of characters in the Basic Multilingual Plane.
const plane = 1 << 16

// A Charset is the character set of a text column, as the server reports it. It
// is immutable. A nil Charset is UTF-8 with all of Unicode.
type Charset struct {
	name string // in SQL
	// width is the maximum number of bytes of a character, 0 for UTF-8.
	width  int
	first  *[plane / 64]uint64 // one bit per character of the first plane, nil for all
	beyond bool                // it has the other planes
	ascii  bool                // it has all of ASCII
}

// NewCharset returns a set whose characters have at most width bytes, or as many
// as in UTF-8 if width is 0. It calls has for each character of the Basic
// Multilingual Plane; if has is nil, the set has all of them.
func NewCharset(name string, width int, has func(r rune) bool, beyond bool) *Charset {
	c := &Charset{name: name, width: width, beyond: beyond, ascii: true}
	if has != nil {
		c.first = new([plane / 64]uint64)
		for r := range rune(plane) {
			if has(r) {
				c.first[r/64] |= 1 << (r % 64)
			} else if r < utf8.RuneSelf {
				c.ascii = false
			}
		}
	}
	return c
}

// Has reports whether the set contains the character.
func (c *Charset) Has(r rune) bool {
	switch {
	case c == nil:
		return true
	case r >= plane:
		return c.beyond
	}
	return c.first == nil || c.first[r/64]&(1<<(r%64)) != 0
}

// bytes returns the maximum number of bytes of the character in the column.
func (c *Charset) bytes(r rune) int64 {
	if c == nil || c.width == 0 {
		return int64(utf8.RuneLen(r))
	}
	return int64(c.width)
}

// printable returns the printable ASCII of the set.
func (c *Charset) printable() *Charset {
	has := func(r rune) bool { return ' ' <= r && r <= '~' && c.Has(r) }
	if c == nil {
		return NewCharset("", 0, has, false)
	}
	return NewCharset(c.name, c.width, has, false)
}

// takesBytes reports whether every byte is a character of the set, so that the
// column stores bytes unchanged.
func (c *Charset) takesBytes() bool {
	return c == nil || c.width == 1 && c.name != "ascii"
}

// equal reports whether two sets have the same characters.
func (c *Charset) equal(other *Charset) bool {
	if c == nil || other == nil {
		return c == other
	}
	same := c.first == other.first || c.first != nil && other.first != nil && *c.first == *other.first
	return same && c.name == other.name && c.width == other.width && c.beyond == other.beyond
}
