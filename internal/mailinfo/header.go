package mailinfo

import "bytes"

// A header holds the fields of a header block that Parse uses: the body of the
// first field of each name, still folded, or nil if there is no such field.
type header struct {
	subject          []byte
	messageID        []byte // Message-ID
	replyTo          []byte // Reply-To
	sender           []byte
	contentType      []byte
	disposition      []byte // Content-Disposition
	transferEncoding []byte // Content-Transfer-Encoding
}

// readHeader reads the header block at pos and returns the offset of the body:
// after the first empty line, or at the first line that is neither a field nor a
// continuation line. A delimiter line of an open multipart also ends the header.
//
// Lines end with LF, or with LF after any number of CRs. A byte order mark before
// a field or before the empty line is ignored: some senders start the message
// with a mark, and in a stored message the added fields precede it.
func readHeader(text []byte, pos int, open []multipart) (h header, body int) {
	for pos < len(text) {
		begin := pos
		if bytes.HasPrefix(text[pos:], []byte(bom)) {
			begin += len(bom)
		}
		line, next := cutLine(text, begin)
		if len(line) == 0 {
			return h, next
		}
		colon, name := fieldName(line)
		if colon < 0 {
			break
		}
		if _, _, ok := delimiter(line, open); ok {
			break
		}
		end := begin + len(line)
		for next < len(text) && (text[next] == ' ' || text[next] == '\t') {
			start := next
			line, next = cutLine(text, start)
			end = start + len(line)
		}
		h.keep(name, text[begin+colon+1:end])
		pos = next
	}
	return h, pos
}

func (h *header) keep(name, value []byte) {
	var field *[]byte
	switch len(name) {
	case len("Subject"):
		if bytes.EqualFold(name, []byte("Subject")) {
			field = &h.subject
		}
	case len("Message-ID"):
		if bytes.EqualFold(name, []byte("Message-ID")) {
			field = &h.messageID
		}
	case len("Reply-To"):
		if bytes.EqualFold(name, []byte("Reply-To")) {
			field = &h.replyTo
		}
	case len("Sender"):
		if bytes.EqualFold(name, []byte("Sender")) {
			field = &h.sender
		}
	case len("Content-Type"):
		if bytes.EqualFold(name, []byte("Content-Type")) {
			field = &h.contentType
		}
	case len("Content-Disposition"):
		if bytes.EqualFold(name, []byte("Content-Disposition")) {
			field = &h.disposition
		}
	case len("Content-Transfer-Encoding"):
		if bytes.EqualFold(name, []byte("Content-Transfer-Encoding")) {
			field = &h.transferEncoding
		}
	}
	if field != nil && *field == nil {
		*field = value
	}
}

// fieldName returns the offset of the colon and the name before it, or -1 if
// line is not a field (RFC 5322 section 2.2). Section 4.5 allows blanks before
// the colon as obsolete syntax.
func fieldName(line []byte) (colon int, name []byte) {
	n := 0
	for n < len(line) && '!' <= line[n] && line[n] <= '~' && line[n] != ':' {
		n++
	}
	for colon = n; colon < len(line) && (line[colon] == ' ' || line[colon] == '\t'); {
		colon++
	}
	if n == 0 || colon == len(line) || line[colon] != ':' {
		return -1, nil
	}
	return colon, line[:n]
}

// cutLine returns the line at pos without its line end, and the offset of the
// next line.
func cutLine(text []byte, pos int) (line []byte, next int) {
	line, next = text[pos:], len(text)
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line, next = line[:i], pos+i+1
		for len(line) > 0 && line[len(line)-1] == '\r' {
			line = line[:len(line)-1]
		}
	}
	return line, next
}

// isMboxLine reports whether text starts with a line that separates messages in
// an mbox file. Some senders leave that line in the message.
func isMboxLine(text []byte) bool {
	if !bytes.HasPrefix(bytes.TrimPrefix(text, []byte(">")), []byte("From ")) {
		return false
	}
	line, _ := cutLine(text, 0)
	colon, _ := fieldName(line)
	return colon < 0
}

// unfold returns a field body as one line: it removes line ends and the blanks
// around the body, and replaces a tab at the start of a line with a space.
func unfold(value []byte) []byte {
	value = bytes.Trim(value, " \t\r\n")
	if bytes.IndexByte(value, '\n') < 0 {
		return value
	}
	out := make([]byte, 0, len(value))
	for pos := 0; pos < len(value); {
		line, next := cutLine(value, pos)
		if rest, ok := bytes.CutPrefix(line, []byte("\t")); ok {
			out = append(out, ' ')
			line = rest
		}
		out = append(out, line...)
		pos = next
	}
	return out
}
