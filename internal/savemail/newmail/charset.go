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
	bmp    *[plane / 64]uint64 // one bit per character of the Basic Multilingual Plane, nil for all
	beyond bool                // the set has all characters of the other planes
	ascii  bool                // the set has all characters of ASCII
}

// NewCharset returns a set whose characters have at most width bytes, or the bytes
// of UTF-8 if width is 0. It calls has for each character of the Basic Multilingual
// Plane; if has is nil, the set has all of them. beyond states whether the set has
// the characters of the other planes.
func NewCharset(name string, width int, has func(r rune) bool, beyond bool) *Charset {
	c := &Charset{name: name, width: width, beyond: beyond, ascii: true}
	if has != nil {
		c.bmp = new([plane / 64]uint64)
		for r := range rune(plane) {
			if has(r) {
				c.bmp[r/64] |= 1 << (r % 64)
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
	return c.bmp == nil || c.bmp[r/64]&(1<<(r%64)) != 0
}

// bytes returns the maximum number of bytes of the character in the column.
func (c *Charset) bytes(r rune) int64 {
	if c == nil || c.width == 0 {
		return int64(utf8.RuneLen(r))
	}
	return int64(c.width)
}

// printable returns the set of the printable ASCII characters of c.
func (c *Charset) printable() *Charset {
	has := func(r rune) bool { return ' ' <= r && r <= '~' && c.Has(r) }
	if c == nil {
		return NewCharset("", 0, has, false)
	}
	return NewCharset(c.name, c.width, has, false)
}

// storesBytes reports whether the column stores every byte unchanged: it is a
// column of bytes, or each byte is a character of its set.
func (c *Charset) storesBytes() bool {
	return c == nil || c.width == 1 && c.name != "ascii"
}

// equal reports whether two sets have the same name, width and characters.
func (c *Charset) equal(other *Charset) bool {
	if c == nil || other == nil {
		return c == other
	}
	same := c.bmp == other.bmp || c.bmp != nil && other.bmp != nil && *c.bmp == *other.bmp
	return same && c.name == other.name && c.width == other.width && c.beyond == other.beyond
}
