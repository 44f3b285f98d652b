package mailinfo

import (
	"bytes"
	"strings"
)

// A multipart is an open multipart: its closing delimiter has not been read.
type multipart struct {
	boundaries  [2]string // possible boundaries, the shorter first; "" if unused
	defaultType string    // of its parts (RFC 2046 section 5.1.5)
	alternative bool
}

// A walker reads the body of a message once, from delimiter line to delimiter
// line. It keeps the open multiparts on a stack instead of recursing: a delimiter
// of an outer multipart also ends the multiparts inside it.
type walker struct {
	message []byte
	open    []multipart

	charset     string // label of the first text part, "" if it has none
	textRead    bool   // the first text part was read
	attachments []Attachment
	infoSize    int // bytes of the attachments as JSON

	bodyType    string // type of the body, "" before the body was read
	alternative int    // depth of the open multipart/alternative with the body, or 0
}

// walk reads the message with the top-level header p and the body at pos.
func (w *walker) walk(p part, pos int) {
	inPart := w.enter(p) // false in a preamble or an epilogue, which are ignored
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

// enter opens p if it is a multipart and reports whether it is not. A multipart
// without a boundary, or inside maxDepth multiparts, is not opened: its body is ignored.
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

// leave closes all multiparts except the n outermost.
func (w *walker) leave(n int) {
	w.open = w.open[:n]
	if w.alternative > n {
		w.alternative = 0
	}
}

// nextDelimiter finds the first delimiter line at or after pos, which must be the
// start of a line. It returns the offsets of that line and of the next, and the
// index in w.open of the multipart that it belongs to, or -1 if there is none.
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

// beforeLineEnd returns the end of the body that starts at start and precedes the
// delimiter line at line. The line end before a delimiter belongs to the delimiter
// (RFC 2046 section 5.1.1), and can be CR CR LF if the delimiter line also ends with
// CR CR LF.
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

// delimiter reports whether line is a delimiter line of an open multipart, the
// index of the innermost such multipart, and whether the line closes it. Only
// blanks and CRs may follow the boundary. When a line has the longer of two
// possible boundaries, delimiter removes the shorter one.
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
