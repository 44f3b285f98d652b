package mailinfo

import (
	"strings"
	"unicode/utf8"
)

// leaf looks at a part, in the order of the message.
func (w *walker) leaf(p part, body []byte) {
	attached := p.disposition == "attachment"
	name := p.name(w.charset)
	// Of unknown type, a file is no body.
	isBody := !attached && (name == "" || !p.malformed) && w.isBody(p.kind)
	if attached || name != "" && !isBody {
		w.attach(Attachment{Name: name, Type: p.kind}, p.encoding, body)
		return
	}
	if !w.text && strings.HasPrefix(p.kind, "text/") {
		w.text = true
		w.charset = p.charset()
	}
}

// isBody reports whether a part of that type is what a reader sees as the
// mail's own text, whatever name it has: the first text/plain or text/html, and
// the first of the other type where both are alternatives of each other.
func (w *walker) isBody(kind string) bool {
	switch {
	case kind != "text/plain" && kind != "text/html":
		return false
	case w.body == "":
		w.body = kind
		for depth := len(w.open); depth > 0 && w.alternative == 0; depth-- {
			if w.open[depth-1].alternative {
				w.alternative = depth
			}
		}
		return true
	case w.alternative > 0 && kind != w.body:
		w.alternative = 0
		return true
	}
	return false
}

// attach notes an attachment while there is space for it.
func (w *walker) attach(a Attachment, encoding string, body []byte) {
	if len(w.attachments) == maxAttachments || w.info > maxAttachInfo {
		return
	}
	w.info += len(`{"name":"","type":"","size":9223372036854775807},`) + jsonSize(a.Name) + jsonSize(a.Type)
	if w.info > maxAttachInfo {
		return
	}
	a.Size = decodedSize(encoding, body)
	w.attachments = append(w.attachments, a)
}

// jsonSize returns how many bytes s has at most inside a JSON string.
func jsonSize(s string) int {
	n := len(s)
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '<' || c == '>' || c == '&' || c == '"' || c == '\\' {
			n += len(`\u0000`) - 1
		}
	}
	return n + 3*strings.Count(s, "\u2028") + 3*strings.Count(s, "\u2029")
}

// name returns the part's file name, "" when it has none: that of the
// disposition, else that of the type. Raw bytes in it are read like the text
// that has the label charset.
func (p *part) name(charset string) string {
	if len(p.dispParams) == 0 && len(p.params) == 0 {
		return ""
	}
	raw := fallback(charset)
	name := textParam(p.dispParams, "filename", raw)
	if name == "" {
		name = textParam(p.params, "name", raw)
	}
	return cut(strings.TrimSpace(name), maxName)
}

// charset returns the label that the part has, as it is given.
func (p *part) charset() string {
	label, _, _ := rawParam(p.params, "charset")
	return cut(oneLine(strings.TrimSpace(strings.ToValidUTF8(string(label), "\uFFFD"))), maxToken)
}

// cut returns as much of s, which is valid UTF-8, as fits n bytes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
