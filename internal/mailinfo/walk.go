package mailinfo

import (
	"bytes"
	"strings"
)

// A multipart is one whose end has not come yet.
type multipart struct {
	boundaries  [2]string // how its boundary can be read, the shorter first; "" is none
	defaultType string    // of its parts (RFC 2046 section 5.1.5)
	alternative bool
}

// A walker goes once through the body of a message, from one delimiter line to
// the next. The stack of open multiparts takes the place of recursion; a
// delimiter of an outer one ends those inside it, closed or not.
type walker struct {
	message []byte
	open    []multipart

	charset     string // of the first text, "" when it has no label
	text        bool   // the first text was seen
	attachments []Attachment
	info        int // bytes of the attachments as JSON

	body        string // type of the body, "" until it was seen
	alternative int    // depth of the open alternative that holds the body, or 0
}

// walk goes through the message, whose body begins at pos.
func (w *walker) walk(p part, pos int) {
	inPart := w.enter(p) // or in what surrounds the parts, which counts for nothing
	start := pos
	for parts := 0; ; parts++ {
		line, next, level, closing := w.nextDelimiter(pos)
		if inPart {
			w.leaf(p, w.message[start:w.beforeLineEnd(start, line, level)])
		}
		if level < 0 || parts == maxParts {
			return
		}
		pos = next
		if closing {
			w.leave(level)
			inPart = false
			continue
		}
		w.leave(level + 1)
		var h header
		h, pos = readHeader(w.message, next, w.open)
		p = newPart(h, w.open[level].defaultType)
		inPart = w.enter(p)
		start = pos
	}
}

// enter reports whether p is a part by itself. A multipart is none: it is
// opened, unless it cannot be taken apart, and then hides what it holds.
func (w *walker) enter(p part) (leaf bool) {
	sub, ok := strings.CutPrefix(p.kind, "multipart/")
	if !ok {
		return true
	}
	m := multipart{boundaries: p.boundaries(), defaultType: "text/plain", alternative: sub == "alternative"}
	if sub == "digest" {
		m.defaultType = "message/rfc822"
	}
	if m.boundaries != [2]string{} && len(w.open) < maxDepth {
		w.open = append(w.open, m)
	}
	return false
}

// leave closes all multiparts but the outer ones.
func (w *walker) leave(outer int) {
	w.open = w.open[:outer]
	if w.alternative > outer {
		w.alternative = 0
	}
}

// nextDelimiter finds the first delimiter line at or after pos, where a line
// begins: its offset, that of the line behind it, and whose it is. The level is
// -1 when there is none.
func (w *walker) nextDelimiter(pos int) (start, next, level int, closing bool) {
	for len(w.open) > 0 && pos < len(w.message) {
		if w.message[pos] == '-' {
			line, next := cutLine(w.message, pos)
			if level, closing, ok := delimiter(line, w.open); ok {
				return pos, next, level, closing
			}
			pos = next
			continue
		}
		i := bytes.IndexByte(w.message[pos:], '\n')
		if i < 0 {
			break
		}
		pos += i + 1
	}
	return len(w.message), len(w.message), -1, false
}

// beforeLineEnd returns where the body from start ends, that a delimiter line
// follows: the line end before it belongs to the delimiter (RFC 2046 section
// 5.1.1). Where the delimiter line ends in CR CR LF, so may the line before it.
func (w *walker) beforeLineEnd(start, line, level int) int {
	if level < 0 || line == start || w.message[line-1] != '\n' {
		return line
	}
	text, next := cutLine(w.message, line)
	crs := max(1, next-line-len(text)-len("\n"))
	for line--; crs > 0 && line > start && w.message[line-1] == '\r'; crs-- {
		line--
	}
	return line
}

// delimiter tells whether line is a delimiter of an open multipart, of which,
// the innermost first, and whether it closes it. Blanks and CRs may follow;
// anything else makes another boundary of it, of which ours is the beginning.
// Once a line has the longer form of a boundary, the shorter one is only text.
func delimiter(line []byte, open []multipart) (level int, closing, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("--"))
	if !ok || len(open) == 0 {
		return 0, false, false
	}
	rest = bytes.TrimRight(rest, " \t\r")
	for level = len(open) - 1; level >= 0; level-- {
		for i, b := range open[level].boundaries {
			if b == "" || len(rest) < len(b) || string(rest[:len(b)]) != b {
				continue
			}
			after := string(rest[len(b):])
			if after != "" && after != "--" {
				continue
			}
			if i == 1 {
				open[level].boundaries[0] = ""
			}
			return level, after == "--", true
		}
	}
	return 0, false, false
}
