// Package mailinfo reads from a message what the table has columns for: its
// subject, charset, content type and attachments. The message itself is never
// changed, and nothing that is broken in it costs more than the one value it
// breaks.
//
// Charsets are decoded as the WHATWG Encoding standard requires, with the tables
// of golang.org/x/text. The rest is read here and not by the standard library's
// mime package, which is for messages that keep the rules: its ParseMediaType
// rejects a whole field for one bad or repeated parameter, its WordDecoder needs
// blanks around each word and decodes words one by one, and its multipart reader
// ends at the first part that is broken.
//
// # Leniency
//
// One policy decides all cases that the standards exclude: Parse returns what a
// person who reads the row would want, in bounded time and memory.
//
//   - A fault costs only the value that it is in. A bad byte costs itself, a bad
//     parameter itself, a bad part its own size and name.
//   - Where a text can be read in two ways, the message decides, not the
//     standard: a boundary without quotes is the one whose lines are there, and
//     text without a charset is UTF-8 if most of it is UTF-8.
//   - What other programs display is displayed here: encoded words without blanks
//     around them or in file names, quotes around an encoding, quotes that are
//     missing, padding inside base64, a byte order mark, lines that end in CR CR LF.
//   - What no reader can see is removed: byte order marks, line ends, NUL.
//   - What has no meaning at all stays as it is, such as a word in an unknown
//     charset; a type that is not type/subtype is text/plain.
//   - The first of several fields or parameters of one name counts.
//   - What was encoded is decoded once.
//
// The work is linear in the size of the message, whatever is in it: each byte
// of the body is looked at once to find the boundaries and once to learn a
// size, and what is kept has the bounds below.
package mailinfo

import "bytes"

// Bounds. What lies beyond them is not reported; real mail never comes near.
const (
	maxDepth       = 64      // multiparts inside each other
	maxParts       = 10_000  // parts of a message
	maxAttachments = 1000    // attachments reported
	maxAttachInfo  = 60_000  // bytes of them as JSON: attach_info is a TEXT column
	maxParams      = 1000    // parameters of a field
	maxField       = 1 << 16 // bytes looked at of a field with parameters
	maxBoundary    = 1000    // bytes; RFC 2046 section 5.1.1 allows 70
	maxName        = 1024    // bytes of a file name
	maxToken       = 255     // bytes of a content type or a charset label
)

// Info is what one message says of itself, decoded to valid UTF-8.
type Info struct {
	Subject     string       // one line, RFC 2047 undone; "" when there is none
	Charset     string       // label of the first text part that is not an attachment, as given; else "UTF-8"
	ContentType string       // type/subtype in lower case; "text/plain" when absent or malformed
	Attachments []Attachment // in the order of the message, bounded in number and in bytes
}

// Attachment describes one attached part; its JSON form is an element of the
// column attach_info.
type Attachment struct {
	Name string `json:"name"` // decoded file name, "" when it has none
	Type string `json:"type"` // type/subtype in lower case
	Size int64  `json:"size"` // bytes after the transfer encoding is undone
}

// Parse reads a message, which may be anything at all: it is what a client
// sent, dot-unstuffed. Parse keeps no reference to it.
func Parse(message []byte) Info {
	start := 0
	if unmarked := bytes.TrimPrefix(message, []byte(bom)); isMboxLine(unmarked) {
		_, start = cutLine(message, 0)
	}
	head, body := readHeader(message, start, nil)
	top := newPart(head, "text/plain")
	w := walker{message: message}
	w.walk(top, body)

	info := Info{
		Charset:     w.charset,
		ContentType: top.kind,
		Attachments: w.attachments,
	}
	info.Subject = decodeText(unfold(head.subject), fallback(info.Charset))
	if info.Charset == "" {
		info.Charset = "UTF-8"
	}
	return info
}
