package smtp

import "bytes"

// DotReader finds the end of a text behind DATA and undoes the stuffing of
// dots (RFC 5321 section 4.5.2), in the buffer that the text was read into.
//
// A line begins behind CR LF and nowhere else. There, a dot and CR LF end the
// text; a dot and anything else loses the dot, and nothing but the dot. All
// other bytes pass as they are: lone CR, lone LF, NUL, 8-bit, lines of any
// length. So a text has one end, whatever other servers take for a line.
//
// The zero value is at the start of a text, which is the start of a line: the
// CR LF behind DATA came before it.
type DotReader struct {
	last ending
}

// MaxUnresolved is how many bytes [DotReader.Next] leaves at most, in bytes: a
// dot and CR at the start of a line.
const MaxUnresolved = 2

// ending says what the text has ended in so far.
type ending uint8

const (
	lineEnd ending = iota // CR LF, or the text is empty
	afterCR               // CR
	inLine                // anything else
)

// Next works on b, which starts with the bytes that the last call left
// unresolved and goes on with newly read ones. It moves what is text to the
// front, b[:text], and reports how many bytes of b it has used up. A text that
// has no stuffed dot is not moved at all.
//
// Without end, the caller keeps b[used:], at most [MaxUnresolved] bytes, and
// puts what it reads behind them. With end, b[used:] is what stands behind the
// CR LF of the final dot, and the reader is used no more. The CR LF before the
// final dot is text.
func (d *DotReader) Next(b []byte) (text, used int, end bool) {
	if d.last == afterCR && len(b) > 0 && b[0] == '\n' {
		d.last, text, used = lineEnd, 1, 1
	}
	for used < len(b) {
		if d.last == lineEnd && b[used] == '.' {
			switch rest := b[used+1:]; {
			case len(rest) == 0, len(rest) == 1 && rest[0] == '\r':
				return text, used, false
			case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
				return text, used + len(".\r\n"), true
			}
			used++
		}
		// All up to the next dot at the start of a line is text. Most large
		// texts are base64 and have no dot: one byte is found much faster.
		rest := b[used:]
		if dot := bytes.IndexByte(rest, '.'); dot >= 0 {
			from := max(0, dot-len("\r\n"))
			if i := bytes.Index(rest[from:], lineDot); i >= 0 {
				rest = rest[:from+i+len("\r\n")]
			}
		}
		d.last = endingOf(rest)
		if text != used {
			copy(b[text:], rest)
		}
		text += len(rest)
		used += len(rest)
	}
	return text, used, false
}

// lineDot is a dot at the start of a line.
var lineDot = []byte("\r\n.")

// endingOf returns what a piece of text ends in that begins inside a line or
// at its start. A piece has at least one byte.
func endingOf(piece []byte) ending {
	switch n := len(piece); {
	case piece[n-1] == '\r':
		return afterCR
	case n > 1 && piece[n-1] == '\n' && piece[n-2] == '\r':
		return lineEnd
	}
	return inLine
}
