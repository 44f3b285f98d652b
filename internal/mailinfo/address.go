package mailinfo

import (
	"strings"
	"unicode"
)

// maxAddress bounds a message id or an address in bytes.
const maxAddress = 1000

// firstMailbox returns the address of the first mailbox in an address list (RFC 5322
// section 3.4), without display name, comments and source route, or "" if there is
// none. It accepts a list that is not valid, and an address without domain only in
// angle brackets.
func firstMailbox(list string) string {
	var bare strings.Builder // what precedes "<", a comma or the end, without comments
	for pos := 0; pos < len(list); {
		switch c := list[pos]; c {
		case '(':
			pos = skipComment(list, pos)
			continue
		case '"':
			end := skipQuoted(list, pos)
			bare.WriteString(list[pos:end])
			pos = end
			continue
		case ':': // the name of a group precedes
			bare.Reset()
		case ',', ';':
			if address := mailbox(bare.String()); address != "" {
				return address
			}
			bare.Reset()
		case '<':
			if address := bracketed(list[pos:]); address != "" {
				return address
			}
			bare.Reset()
		default:
			bare.WriteByte(c)
		}
		pos++
	}
	return mailbox(bare.String())
}

// mailbox returns the address in a text without angle brackets: its only word, if
// that contains "@". The local part may be a quoted string.
func mailbox(text string) string {
	text = strings.TrimSpace(text)
	end := 0 // of the quoted string
	if strings.HasPrefix(text, `"`) {
		end = skipQuoted(text, 0)
	}
	if !strings.Contains(text[end:], "@") || strings.ContainsAny(text[end:], " \t") {
		return ""
	}
	return whole(text)
}

// bracketed returns the content of the angle brackets at the start of text, without
// a source route and without blanks.
func bracketed(text string) string {
	inner := text[1:]
	end := 0
	for end < len(inner) && inner[end] != '>' {
		if inner[end] == '"' {
			end = skipQuoted(inner, end)
		} else {
			end++
		}
	}
	inner = strings.TrimSpace(inner[:min(end, len(inner))])
	if strings.HasPrefix(inner, "@") {
		_, inner, _ = strings.Cut(inner, ":")
	}
	return whole(strings.TrimSpace(inner))
}

// messageID returns the id in a Message-ID field without its angle brackets (RFC
// 5322 section 3.6.4). An id without brackets is the field's first word.
func messageID(field string) string {
	if i := strings.IndexByte(field, '<'); i >= 0 {
		return bracketed(field[i:])
	}
	id, _, _ := strings.Cut(strings.TrimSpace(field), " ")
	return whole(id)
}

// whole returns text, or "" if it is too long or has control characters or byte order
// marks: a part of an address would be another address.
func whole(text string) string {
	if len(text) > maxAddress || strings.Contains(text, bom) || strings.ContainsFunc(text, unicode.IsControl) {
		return ""
	}
	return text
}

// skipQuoted returns the offset after the quoted string that starts at pos (RFC 5322
// section 3.2.4), or len(s) if the string does not end.
func skipQuoted(s string, pos int) int {
	for pos++; pos < len(s); pos++ {
		switch s[pos] {
		case '\\':
			pos++
		case '"':
			return pos + 1
		}
	}
	return len(s)
}
