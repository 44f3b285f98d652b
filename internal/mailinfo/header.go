package mailinfo

import "bytes"

// A header is what is kept of a header block: the bodies of the first field of
// each name, still folded; nil when there is none.
type header struct {
	subject     []byte
	contentType []byte
	disposition []byte // Content-Disposition
	encoding    []byte // Content-Transfer-Encoding
}

// readHeader reads the header block that begins at pos, and returns the offset
// at which the body begins: behind the first empty line, or else at the first
// line that is neither a field nor a continuation, a delimiter of the open
// multiparts included. Lines end with LF and any number of CRs before it.
//
// A byte order mark before a field or the empty line is ignored. Some senders
// begin the message with one; in a stored message, our own fields precede it.
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
			field = &h.encoding
		}
	}
	if field != nil && *field == nil {
		*field = value
	}
}

// fieldName returns the offset of the colon and the name before it, or -1 if
// line is no field (RFC 5322 section 2.2). Blanks before the colon are the
// obsolete syntax of its section 4.5.
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

// cutLine returns the line at pos without its end, and the offset of the next.
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

// isMboxLine reports whether text begins with the line that separates mails in
// an mbox file, which some senders pass on.
func isMboxLine(text []byte) bool {
	if !bytes.HasPrefix(bytes.TrimPrefix(text, []byte(">")), []byte("From ")) {
		return false
	}
	line, _ := cutLine(text, 0)
	colon, _ := fieldName(line)
	return colon < 0
}

// unfold returns the body of a field as one line: the line ends go, a tab that
// began a line becomes a blank, all other blanks stay, except around the whole.
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
