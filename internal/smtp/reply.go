package smtp

import "strings"

// Reply is one answer of the server. It is an error as well, so that whoever
// refuses something can return the very answer the client is to get.
type Reply struct {
	Code     int    // RFC 5321 section 4.2, 200 to 599
	Enhanced string // RFC 3463, one of the codes in this package; "" where none belongs (greeting, EHLO, 354)
	Text     string // lines separated by "\n", none at the end
}

// Append appends the reply as it goes over the wire: a line for each line of
// Text, the enhanced code on every one of them (RFC 2034 section 4). A control
// character in Text becomes a question mark: no text, whoever chose it, makes
// a reply of its own.
func (r Reply) Append(out []byte) []byte {
	for text, more := r.Text, true; more; {
		var line string
		line, text, more = strings.Cut(text, "\n")
		out = append(out, byte('0'+r.Code/100%10), byte('0'+r.Code/10%10), byte('0'+r.Code%10))
		if more {
			out = append(out, '-')
		} else {
			out = append(out, ' ')
		}
		if r.Enhanced != "" {
			out = append(out, r.Enhanced...)
			out = append(out, ' ')
		}
		start := len(out)
		out = append(out, line...)
		for i, c := range out[start:] {
			if isControl(c) {
				out[start+i] = '?'
			}
		}
		out = append(out, "\r\n"...)
	}
	return out
}

// Error returns the reply in one line, "550 5.7.1 text".
func (r Reply) Error() string {
	lines := string(Reply{r.Code, r.Enhanced, strings.ReplaceAll(r.Text, "\n", " ")}.Append(nil))
	return strings.TrimSuffix(lines, "\r\n")
}

// isControl reports a control character of ASCII.
func isControl(c byte) bool { return c < ' ' || c == 0x7f }
