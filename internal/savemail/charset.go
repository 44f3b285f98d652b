package savemail

import (
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// A charset says what a text column can hold, by its name in MySQL.
type charset struct {
	// size returns the bytes that a character takes in the column, 0 when the
	// set lacks it. ASCII takes unit bytes in each of them.
	size func(r rune) int
	unit int
}

// charsetOf returns the set of that name. Of a set that is not known, ASCII is
// used, which all sets that MySQL allows for a column contain.
func charsetOf(name string) charset {
	switch name {
	case "", "binary", "utf8mb4": // bytes hold UTF-8
		return charset{utf8.RuneLen, 1}
	case "utf8", "utf8mb3":
		return charset{plane(utf8.RuneLen), 1}
	case "ucs2":
		return charset{plane(func(rune) int { return 2 }), 2}
	case "utf16", "utf16le":
		return charset{func(r rune) int { return 2 * utf16.RuneLen(r) }, 2}
	case "utf32":
		return charset{func(rune) int { return 4 }, 4}
	case "latin1":
		return charset{latin1, 1}
	}
	if m := charmapOf(name); m != nil {
		return charset{func(r rune) int { return single(m, r) }, 1}
	}
	return charset{func(r rune) int {
		if r < utf8.RuneSelf {
			return 1
		}
		return 0
	}, 1}
}

// plane leaves out what is beyond the Basic Multilingual Plane.
func plane(size func(rune) int) func(rune) int {
	return func(r rune) int {
		if r > 0xFFFF {
			return 0
		}
		return size(r)
	}
}

// latin1 is windows-1252 in MySQL, and the five bytes that are undefined there
// are the controls of the same number.
func latin1(r rune) int {
	switch r {
	case 0x81, 0x8D, 0x8F, 0x90, 0x9D:
		return 1
	}
	return single(charmap.Windows1252, r)
}

// single is the size in a set of single bytes. The controls U+0080 to U+009F
// are left out: tables differ in them.
func single(m *charmap.Charmap, r rune) int {
	if r < utf8.RuneSelf {
		return 1
	}
	if _, ok := m.EncodeRune(r); !ok || r < 0xA0 {
		return 0
	}
	return 1
}

// charmapOf returns the table of a set of single bytes, nil if there is none.
func charmapOf(name string) *charmap.Charmap {
	switch name {
	case "latin2":
		return charmap.ISO8859_2
	case "latin5":
		return charmap.ISO8859_9
	case "latin7":
		return charmap.ISO8859_13
	case "greek":
		return charmap.ISO8859_7
	case "hebrew":
		return charmap.ISO8859_8
	case "cp1250":
		return charmap.Windows1250
	case "cp1251":
		return charmap.Windows1251
	case "cp1256":
		return charmap.Windows1256
	case "cp1257":
		return charmap.Windows1257
	case "koi8r":
		return charmap.KOI8R
	case "koi8u":
		return charmap.KOI8U
	case "cp850":
		return charmap.CodePage850
	case "cp852":
		return charmap.CodePage852
	case "cp866":
		return charmap.CodePage866
	}
	return nil
}
