package mailinfo

import (
	"strings"
	"unicode/utf8"
)

// leaf records a part that is not a multipart. It must be called in the order of
// the parts.
func (w *walker) leaf(p part, body []byte) {
	attached := p.disposition == "attachment"
	name := p.name(w.charset)
	// A part with a file name and a malformed type is not a body.
	isBody := !attached && (name == "" || !p.malformed) && w.isBody(p.kind)
	if attached || name != "" && !isBody {
		w.attach(Attachment{Name: name, Type: p.kind}, p.transferEncoding, body)
		return
	}
	if !w.textRead && strings.HasPrefix(p.kind, "text/") {
		w.textRead = true
		w.charset = p.charset()
	}
}

// isBody reports whether a mail program displays a part of that type as the text
// of the message, even if the part has a file name. These are the first part
// that is text/plain or text/html, and its first alternative of the other type.
func (w *walker) isBody(kind string) bool {
	switch {
	case kind != "text/plain" && kind != "text/html":
		return false
	case w.bodyType == "":
		w.bodyType = kind
		for depth := len(w.open); depth > 0 && w.alternative == 0; depth-- {
			if w.open[depth-1].alternative {
				w.alternative = depth
			}
		}
		return true
	case w.alternative > 0 && kind != w.bodyType:
		w.alternative = 0
		return true
	}
	return false
}

// attach records an attachment unless maxAttachments or maxAttachInfo is reached.
func (w *walker) attach(a Attachment, transferEncoding string, body []byte) {
	if len(w.attachments) == maxAttachments || w.infoSize > maxAttachInfo {
		return
	}
	w.infoSize += len(`{"name":"","type":"","size":9223372036854775807},`) + jsonSize(a.Name) + jsonSize(a.Type)
	if w.infoSize > maxAttachInfo {
		return
	}
	a.Size = decodedSize(transferEncoding, body)
	w.attachments = append(w.attachments, a)
}

// jsonSize returns an upper bound for the length of s in a JSON string, in bytes.
func jsonSize(s string) int {
	n := len(s)
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '<' || c == '>' || c == '&' || c == '"' || c == '\\' {
			n += len(`\u0000`) - 1
		}
	}
	return n + 3*strings.Count(s, "\u2028") + 3*strings.Count(s, "\u2029")
}

// name returns the file name in Content-Disposition, else in Content-Type, else
// "". charset is the label of the message's first text part; it applies to bytes in
// the name that have no charset.
func (p *part) name(charset string) string {
	if len(p.dispParams) == 0 && len(p.params) == 0 {
		return ""
	}
	raw := fallback(charset)
	name := textParam(p.dispParams, "filename", raw)
	if name == "" {
		name = textParam(p.params, "name", raw)
	}
	return truncate(strings.TrimSpace(name), maxName)
}

// charset returns the charset label of the part as given, without blanks around it.
func (p *part) charset() string {
	label, _, _ := rawParam(p.params, "charset")
	return truncate(oneLine(strings.TrimSpace(strings.ToValidUTF8(string(label), "\uFFFD"))), maxToken)
}

// truncate returns the longest start of s that has at most n bytes and ends with a
// whole character; s must be valid UTF-8.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
