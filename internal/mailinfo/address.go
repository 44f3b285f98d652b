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
			address, end := bracketed(list, pos)
			if address != "" {
				return address
			}
			bare.Reset()
			pos = end
			continue
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

// bracketed returns the content of the angle brackets that start at pos, without a
// source route and without blanks, and the offset after the brackets.
func bracketed(s string, pos int) (content string, end int) {
	for end = pos + 1; end < len(s) && s[end] != '>'; {
		if s[end] == '"' {
			end = skipQuoted(s, end)
		} else {
			end++
		}
	}
	end = min(end, len(s)) // skipQuoted may skip a backslash at the end
	content = strings.TrimSpace(s[pos+1 : end])
	if strings.HasPrefix(content, "@") {
		_, content, _ = strings.Cut(content, ":")
	}
	return whole(strings.TrimSpace(content)), min(end+1, len(s))
}

// messageID returns the id in a Message-ID field without its angle brackets (RFC
// 5322 section 3.6.4). An id without brackets is the field's first word.
func messageID(field string) string {
	if i := strings.IndexByte(field, '<'); i >= 0 {
		id, _ := bracketed(field, i)
		return id
	}
	id, _, _ := strings.Cut(strings.TrimSpace(field), " ")
	return whole(id)
}

// whole returns a copy of text, or "" if it is too long or has control characters or byte
// order marks: a part of an address would be another address. Without the copy, the
// address would keep its field in memory.
func whole(text string) string {
	if len(text) > maxAddress || strings.Contains(text, bom) || strings.ContainsFunc(text, unicode.IsControl) {
		return ""
	}
	return strings.Clone(text)
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
