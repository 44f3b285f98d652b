// Package mailinfo reads the values of the table's columns from a message: its
// subject, charset, content type and attachments. It never changes the message.
//
// Charsets are decoded as the WHATWG Encoding standard requires, with the tables
// of golang.org/x/text. The package does not use the standard library's mime and
// mime/multipart packages, which accept only messages that follow the standards:
// ParseMediaType rejects a field for one invalid or repeated parameter,
// WordDecoder needs blanks around each encoded word and decodes words separately,
// and the multipart reader stops at the first invalid part.
//
// # Leniency
//
// Many messages do not follow the standards. For such messages, Parse returns
// the values that a reader of the row expects, in bounded time and memory:
//
//   - An error affects only the value that contains it. An invalid byte affects
//     only itself, an invalid parameter only itself, and an invalid part only its
//     own size and name.
//   - If a value is ambiguous, the rest of the message decides: a boundary without
//     quotes is the variant that has delimiter lines, and text without a charset
//     is UTF-8 if most of it is UTF-8.
//   - Parse accepts the errors that mail programs accept: encoded words without blanks
//     around them or in file names, quotes around an encoding, missing quotes,
//     padding inside base64, byte order marks, and lines that end with CR CR LF.
//   - Parse removes byte order marks, and replaces line ends and NUL with blanks.
//   - Text that cannot be decoded stays as it is, such as an encoded word in an
//     unknown charset. A type that is not type/subtype becomes text/plain.
//   - If a field or a parameter is repeated, Parse uses the first one that it finds.
//   - Text is decoded only once.
//
// The time is linear in the size of the message: Parse reads each byte of the
// body once to find boundaries and once to compute a size.
package mailinfo

import "bytes"

// Limits. Parse ignores or cuts everything beyond them. Real messages do not come
// near these limits.
const (
	maxDepth       = 64      // nested multiparts
	maxParts       = 10_000  // parts of a message
	maxAttachments = 1000    // attachments of a message
	maxAttachInfo  = 60_000  // bytes of the attachments as JSON: attach_info is a TEXT column
	maxParams      = 1000    // parameters of a field
	maxField       = 1 << 16 // bytes of a field with parameters
	maxBoundary    = 1000    // bytes; RFC 2046 section 5.1.1 allows 70
	maxName        = 1024    // bytes of a file name
	maxToken       = 255     // bytes of a content type or a charset label
)

// Info holds the values of one message, all in valid UTF-8.
type Info struct {
	Subject     string       // one line, decoded (RFC 2047); "" if there is none
	Charset     string       // label of the first text part that is not an attachment, as given; else "UTF-8"
	ContentType string       // type/subtype in lower case; "text/plain" if missing or malformed
	Attachments []Attachment // in the order of the message; at most 1,000, and 60,000 bytes as JSON
	MessageID   string       // of the field Message-ID, without angle brackets
	ReplyTo     string       // first address of the field Reply-To
	Sender      string       // address of the field Sender
}

// Attachment describes one attached part. Its JSON form is an element of the
// column attach_info.
type Attachment struct {
	Name string `json:"name"` // decoded file name, at most 1,024 bytes; "" if there is none
	Type string `json:"type"` // type/subtype in lower case
	Size int64  `json:"size"` // bytes after decoding the transfer encoding
}

// Parse reads a message as the client sent it, dot-unstuffed. The message may
// contain any bytes. Parse keeps no reference to it.
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
	raw := fallback(info.Charset)
	info.Subject = decodeText(unfold(head.subject), raw)
	text := func(field []byte) string { return decodeRaw([]byte(structured(field)), raw) }
	info.MessageID = messageID(text(head.messageID))
	info.ReplyTo, info.Sender = firstMailbox(text(head.replyTo)), firstMailbox(text(head.sender))
	if info.Charset == "" {
		info.Charset = "UTF-8"
	}
	return info
}
