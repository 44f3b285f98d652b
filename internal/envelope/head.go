package envelope

import "bytes"

// The added header fields: RFC 5321 section 4.4 and RFC 5322 section 3.6.7.
const (
	maxLine    = 78 // bytes without CR LF (RFC 5322 section 2.1.1); only a single longer word exceeds it
	dateLayout = "Mon, 02 Jan 2006 15:04:05 -0700"
)

// HeadRoom returns the bytes of room that Blob needs in front of the text, for the
// recipient with the longest fields. It does not depend on Date and the message.
func (e *Envelope) HeadRoom() int {
	longest := Recipient{}
	for _, to := range e.To {
		longest.Address = longer(longest.Address, to.Address)
		longest.Hash = longer(longest.Hash, to.Hash)
	}
	const (
		fixed = len("Return-Path: <>\r\nDelivered-To: \r\nReceived: from " +
			"() by  with  () id  for <>; " + dateLayout + "\r\n\r\n")
		folds   = 8 * (len("\r\n\t") - len(" "))
		literal = len("[IPv6:]") + len("0000:0000:0000:0000:0000:0000:255.255.255.255")
	)
	return fixed + folds + len(e.From) + 2*len(longest.Address) + len(longest.Hash) +
		max(len(e.Helo), literal) + literal + len(e.Host) + len(e.Protocol) + len(e.TLS)
}

func longer(a, b string) string {
	if len(b) > len(a) {
		return b
	}
	return a
}

// appendHead appends the header fields for recipient i, and an empty line if the
// message needs one. It does not allocate if dst has the capacity.
func (e *Envelope) appendHead(dst []byte, i int) []byte {
	to := &e.To[i]
	dst = append(dst, "Return-Path: <"...)
	dst = appendText(dst, e.From)
	dst = append(dst, ">\r\nDelivered-To: "...)
	dst = appendText(dst, to.Address)
	dst = append(dst, "\r\n"...)

	l := folder{line: len(dst)}
	dst = append(dst, "Received: from "...)
	dst = e.appendHelo(dst)
	dst = append(l.word(dst), '(')
	dst = appendLiteral(dst, e.Client())
	dst = append(dst, ')')
	dst = append(l.word(dst), "by "...)
	dst = appendText(dst, e.Host)
	dst = append(l.word(dst), "with "...)
	dst = appendText(dst, e.Protocol)
	if e.TLS != "" {
		dst = append(l.word(dst), '(')
		dst = appendComment(dst, e.TLS)
		dst = append(dst, ')')
	}
	dst = append(l.word(dst), "id "...)
	dst = appendText(dst, to.Hash)
	dst = append(l.word(dst), "for <"...)
	dst = appendText(dst, to.Address)
	dst = append(dst, ">;"...)
	dst = e.Date.AppendFormat(l.word(dst), dateLayout)
	dst = append(l.end(dst), "\r\n"...)

	if needsEmptyLine(e.Message()) {
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// A folder folds a field between its words, so that a line is longer than maxLine
// only if it is a single word.
type folder struct {
	line  int // offset of the current line
	blank int // offset of the blank before the current word, 0 in the first word
}

// word ends the current word at the end of dst and starts the next word.
func (f *folder) word(dst []byte) []byte {
	dst = f.end(dst)
	f.blank = len(dst)
	return append(dst, ' ')
}

// end moves the current word to a new line if its line is too long.
func (f *folder) end(dst []byte) []byte {
	if f.blank == 0 || len(dst)-f.line <= maxLine {
		return dst
	}
	dst = append(dst, 0, 0)
	copy(dst[f.blank+3:], dst[f.blank+1:])
	copy(dst[f.blank:], "\r\n\t")
	f.line = f.blank + 2
	return dst
}

// needsEmptyLine reports whether the start of the message could be read as a
// continuation of the added fields: its first line is neither empty nor a header
// field (RFC 5322 section 2.2, and section 4.5 for blanks before the colon). It
// ignores a byte order mark before that line, as many programs do.
func needsEmptyLine(message []byte) bool {
	message = bytes.TrimPrefix(message, []byte("\ufeff"))
	if bytes.HasPrefix(message, []byte("\r\n")) || bytes.HasPrefix(message, []byte("\n")) {
		return false
	}
	name := 0
	for name < len(message) && '!' <= message[name] && message[name] <= '~' && message[name] != ':' {
		name++
	}
	rest := bytes.TrimLeft(message[name:], " \t")
	return name == 0 || len(rest) == 0 || rest[0] != ':'
}
