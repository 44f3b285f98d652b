package smtp

import "strings"

// A Reply is one reply of the server. It is also an error, so a function that
// refuses something can return the reply to the client.
type Reply struct {
	Code     int    // RFC 5321 section 4.2, 200 to 599
	Enhanced string // RFC 3463; "" in replies without a code (greeting, HELO, EHLO, 354)
	Text     string // lines separated by "\n", without one at the end
}

// Append appends the reply as it is sent: one line for each line of Text, each
// with the enhanced code (RFC 2034 section 4). A control character in Text becomes
// a question mark, so no text can contain another reply.
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

// isControl reports whether c is an ASCII control character.
func isControl(c byte) bool { return c < ' ' || c == 0x7f }
