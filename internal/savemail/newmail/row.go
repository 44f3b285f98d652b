package newmail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/savemail"
)

// A Row has the values of an envelope's rows, fitted to the columns.
type Row struct {
	Compressed bool // the column mail holds zlib

	columns *Columns
	values  []any  // of the filled columns; nil for a value that differs between recipients
	body    string // of a message in the table
}

// The values of the column body: the form of the column mail.
const (
	BodyPlain = ""         // unchanged
	BodyZlib  = "gzencode" // zlib (RFC 1950); the 2012 program used this name
	BodyGzip  = "gzip"     // zlib as well; a processor of later go-guerrilla versions used this name
	BodyRedis = "redis"    // empty, the message is in Redis
)

// Row returns the values of an envelope's rows, whose messages are compressed if
// compress is set and the table can hold compressed messages. The error is ErrRejected if the columns cannot hold a recipient. Normally the session
// has refused such a recipient already.
func (c *Columns) Row(e *envelope.Envelope, compress bool) (*Row, error) {
	for _, to := range e.To {
		if r := c.Fits(to.Address); r != nil {
			return nil, fmt.Errorf("%w: recipient %q: %s", savemail.ErrRejected, to.Address, r.Text)
		}
	}
	row := &Row{columns: c, values: make([]any, len(c.filled))}
	if compress && c.zlib != "" {
		row.Compressed, row.body = true, c.zlib
	}
	for i := range c.filled {
		row.values[i] = c.filled[i].value(e)
	}
	return row, nil
}

// value returns the value for all recipients, or nil.
func (f *filled) value(e *envelope.Envelope) any {
	switch {
	case f.packed:
		return append([]byte{}, e.Client().AsSlice()...) // nil would be NULL
	case f.key == "attach_info":
		return f.list(e.Info.Attachments)
	case f.key == "to" || f.key == "recipient" || f.key == "hash" || f.key == "body" || f.key == "mail":
		return nil
	case f.Kind == Text:
		return f.text(text(f.key, e))
	case f.Kind == Number:
		return f.number(count(f.key, e))
	}
	return nil
}

// InRedis reports whether the row of a recipient needs no message because Redis holds
// it and the column body can say so.
func (r *Row) InRedis(to *envelope.Recipient) bool {
	return to.InRedis && r.columns.inRedis
}

// Size returns the number of bytes of the texts that are the same for all recipients.
func (r *Row) Size() (size int) {
	for _, v := range r.values {
		if s, ok := v.(string); ok {
			size += len(s)
		}
	}
	return size
}

// Append appends the values of a recipient's row to args, in the order of Targets and
// without those of the kind Zero. mail is the message unless InRedis, and date the value
// of the kind Clock, nil if the statement has none.
func (r *Row) Append(args []any, date any, to *envelope.Recipient, mail []byte) []any {
	body := r.body
	if r.InRedis(to) {
		body, mail = BodyRedis, []byte{} // nil would be NULL
	}
	for i := range r.columns.filled {
		f, v := &r.columns.filled[i], r.values[i]
		switch f.key {
		case "spam_score":
			continue
		case "date":
			if v = date; v == nil {
				continue
			}
		case "to", "recipient":
			v = to.Address
		case "hash":
			v = to.Hash
		case "body":
			v = body
		case "mail":
			v = mail
		}
		args = append(args, v)
	}
	return args
}

// CheckMail returns ErrRejected if the column mail is too small for n bytes. A
// server that is not in strict mode would cut the message silently.
func (c *Columns) CheckMail(n int64) error {
	if c.MailIsText() {
		n *= c.mail.charset.bytes('a')
	}
	if !c.mail.over(0, n) {
		return nil
	}
	return fmt.Errorf("%w: %d bytes are too many for the column mail, which holds %d", savemail.ErrRejected, n, c.mail.bytes)
}

// list returns the attachments as a JSON list. If the column is too small, list
// drops the last attachments, so that the list remains valid JSON.
func (f *fit) list(attachments []mailinfo.Attachment) string {
	if len(attachments) == 0 {
		return f.text("[]")
	}
	var b strings.Builder
	b.WriteByte('[')
	chars, bytes := int64(len("[]")), int64(len("[]"))*f.charset.bytes('[')
	for i, a := range attachments {
		entry := f.entry(a)
		if i > 0 {
			entry = "," + entry
		}
		size, _ := f.size(entry)
		chars += int64(utf8.RuneCountInString(entry))
		bytes += size
		if f.over(chars, bytes) {
			break
		}
		b.WriteString(entry)
	}
	b.WriteByte(']')
	return f.text(b.String())
}

// entry returns one attachment as JSON. It escapes the characters that the
// column's set lacks.
func (f *fit) entry(a mailinfo.Attachment) string {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(a); err != nil {
		return "{}" // cannot happen with strings and a number
	}
	entry := strings.TrimSuffix(buf.String(), "\n")
	if _, whole := f.size(entry); whole {
		return entry
	}
	var b strings.Builder
	for _, r := range entry {
		switch {
		case r < utf8.RuneSelf || f.charset.Has(r): // JSON itself is ASCII
			b.WriteRune(r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
