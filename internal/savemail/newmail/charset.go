package newmail

import "unicode/utf8"

// plane is how many characters the Basic Multilingual Plane has.
const plane = 1 << 16

// A Charset is the character set of a text column: which characters it has, as
// its server reports. It is immutable. A nil Charset has all of Unicode as UTF-8.
type Charset struct {
	name string // in SQL
	// width is the most bytes that a character takes, 0 where the column holds
	// UTF-8.
	width  int
	first  *[plane / 64]uint64 // a bit for each character of the first plane, nil for all
	beyond bool                // the other planes
	ascii  bool                // all of it
}

// NewCharset returns a set whose characters take width bytes at most, or as
// many as in UTF-8 if width is 0. It asks has for each character of the Basic
// Multilingual Plane; a nil has stands for all of them.
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

// Has reports whether the set has the character.
func (c *Charset) Has(r rune) bool {
	switch {
	case c == nil:
		return true
	case r >= plane:
		return c.beyond
	}
	return c.first == nil || c.first[r/64]&(1<<(r%64)) != 0
}

// bytes returns how many bytes the character takes in the column, at most.
func (c *Charset) bytes(r rune) int64 {
	if c == nil || c.width == 0 {
		return int64(utf8.RuneLen(r))
	}
	return int64(c.width)
}

// printable returns the set's printable ASCII.
func (c *Charset) printable() *Charset {
	has := func(r rune) bool { return ' ' <= r && r <= '~' && c.Has(r) }
	if c == nil {
		return NewCharset("", 0, has, false)
	}
	return NewCharset(c.name, c.width, has, false)
}

// takesBytes reports whether every byte is a character of the set, so that
// bytes are stored as they are.
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
