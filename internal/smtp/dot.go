package smtp

import "bytes"

// A DotReader finds the end of the text after DATA and removes the dot stuffing
// (RFC 5321 section 4.5.2) in place.
//
// Only CR LF ends a line. At the start of a line, a dot and CR LF end the text, and
// any other dot is removed. All other bytes are text and stay unchanged: a lone CR
// or LF, NUL, 8-bit bytes, lines of any length. So the end of a text is unambiguous,
// even if other servers accept other line endings.
//
// The zero value is at the start of a text, which is the start of a line.
type DotReader struct {
	last ending
}

// MaxUnresolved is the maximum number of bytes that [DotReader.Next] leaves: a dot
// and a CR at the start of a line.
const MaxUnresolved = 2

// An ending describes the last bytes of the text so far.
type ending uint8

const (
	lineEnd ending = iota // CR LF, or the text is empty
	afterCR               // CR
	inLine                // any other byte
)

// Next processes b: the bytes that the last call left unused, and newly read bytes
// after them. It moves the text to b[:text] and returns the number of bytes used.
// Text without a stuffed dot is not moved.
//
// If end is false, the caller keeps b[used:], at most [MaxUnresolved] bytes, and
// appends the next bytes to it. If end is true, b[used:] follows the CR LF of the
// final dot, and the caller must not use the reader again. The CR LF before the final
// dot is text.
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
		// All bytes before the next dot at the start of a line are text. Most large
		// texts are base64 without dots, and IndexByte is much faster than Index.
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

// endingOf returns the ending of a piece of text. The piece has at least one byte and
// does not begin between a CR and an LF.
func endingOf(piece []byte) ending {
	switch n := len(piece); {
	case piece[n-1] == '\r':
		return afterCR
	case n > 1 && piece[n-1] == '\n' && piece[n-2] == '\r':
		return lineEnd
	}
	return inLine
}
