// Package newmail makes the rows of the table new_mail. It fits the values of an
// envelope to the length and the character set of the columns.
package newmail

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"goguerrillad/internal/smtp"
)

// A Column is one column of a table.
type Column struct {
	Name    string
	Chars   int64    // maximum length in characters, 0 = no limit
	Bytes   int64    // maximum length in bytes, 0 = no limit
	Charset *Charset // nil for a column of bytes or of UTF-8
}

// Columns are the columns of a table. They are immutable.
type Columns struct {
	all                                []Column
	from, to, subject, body, charset   fit
	contentType, recipient, ip, attach fit
	mail                               fit
}

// Written returns the columns that an INSERT sets, in the order of the schema.
// The other columns keep their defaults.
func Written() []string {
	return []string{"date", "from", "to", "subject", "body", "charset", "mail", "spam_score", "hash",
		"content_type", "recipient", "has_attach", "ip_addr", "attach_info"}
}

// NewColumns returns the columns of a table. The error names the columns of Written
// that the table lacks.
func NewColumns(all []Column) (*Columns, error) {
	c := &Columns{all: all}
	fits := map[string]*fit{
		"from": &c.from, "to": &c.to, "subject": &c.subject, "body": &c.body, "charset": &c.charset, "mail": &c.mail,
		"content_type": &c.contentType, "recipient": &c.recipient, "ip_addr": &c.ip, "attach_info": &c.attach,
	}
	var missing []string
	for _, name := range Written() {
		i := slices.IndexFunc(all, func(col Column) bool { return strings.EqualFold(col.Name, name) })
		if i < 0 {
			missing = append(missing, name)
		} else if f := fits[name]; f != nil { // nil: the values of the column always fit
			*f = fit{charset: all[i].Charset, chars: all[i].Chars, bytes: all[i].Bytes}
		}
	}
	if missing != nil {
		return nil, fmt.Errorf("the table lacks the columns %s", strings.Join(missing, ", "))
	}
	return c, nil
}

// Equal reports whether two tables have the same columns.
func (c *Columns) Equal(other *Columns) bool {
	if c == nil || other == nil {
		return c == other
	}
	return slices.EqualFunc(c.all, other.all, func(a, b Column) bool {
		return a.Name == b.Name && a.Chars == b.Chars && a.Bytes == b.Bytes && a.Charset.equal(b.Charset)
	})
}

// Charset returns the SQL name of a column's character set, "" for a column of
// bytes or of UTF-8.
func (c *Columns) Charset(name string) string {
	for _, col := range c.all {
		if strings.EqualFold(col.Name, name) && col.Charset != nil && col.Charset.width > 0 {
			return col.Charset.name
		}
	}
	return ""
}

// Printable returns the columns with their character sets reduced to printable
// ASCII. The columns to, recipient, body, ip_addr and mail do not change.
func (c *Columns) Printable() *Columns {
	p := *c
	for _, f := range []*fit{&p.from, &p.subject, &p.charset, &p.contentType, &p.attach} {
		f.charset = f.charset.printable()
	}
	return &p
}

// MailIsText reports whether the column mail is text, so that it cannot hold all
// bytes.
func (c *Columns) MailIsText() bool { return !c.mail.charset.storesBytes() }

// MailText returns a message for a column mail that is text: '?' replaces each byte
// that is not UTF-8 and each character that the set lacks.
func (c *Columns) MailText(message []byte) []byte {
	text := make([]byte, 0, len(message))
	for len(message) > 0 {
		r, n := utf8.DecodeRune(message)
		if r == utf8.RuneError && n == 1 || !c.mail.charset.Has(r) {
			text = append(text, '?')
		} else {
			text = append(text, message[:n]...)
		}
		message = message[n:]
	}
	return text
}

// Fits returns nil if the columns can hold a recipient unchanged, else the reply
// that refuses it. Every recipient fits while the columns are unknown (c is nil).
func (c *Columns) Fits(address string) *smtp.Reply {
	if c == nil {
		return nil
	}
	for _, f := range [...]*fit{&c.to, &c.recipient} {
		size, whole := f.size(address)
		if !whole {
			return &smtp.ReplyRecipientUnstorable
		}
		if f.over(int64(utf8.RuneCountInString(address)), size) {
			return &smtp.ReplyRecipientTooLong
		}
	}
	return nil
}

// A fit is the capacity of one text column.
type fit struct {
	charset      *Charset
	chars, bytes int64 // 0 = no limit
}

// size returns the bytes of s in the column, and whether s is valid UTF-8 whose
// characters are all in the column's set.
func (f *fit) size(s string) (size int64, whole bool) {
	whole = utf8.ValidString(s)
	for _, r := range s {
		whole = whole && f.charset.Has(r)
		size += f.charset.bytes(r)
	}
	return size, whole
}

// text returns s as valid UTF-8, cut to the length of the column, with '?' for each
// character that the set lacks.
func (f *fit) text(s string) string {
	if f.plain(s) {
		return s
	}
	var b strings.Builder
	var chars, bytes int64
	for _, r := range s {
		if !f.charset.Has(r) {
			r = '?'
		}
		chars++
		bytes += f.charset.bytes(r)
		if f.over(chars, bytes) {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// over reports whether a text with these numbers of characters and bytes is too
// long for the column.
func (f *fit) over(chars, bytes int64) bool {
	return f.chars > 0 && chars > f.chars || f.bytes > 0 && bytes > f.bytes
}

// plain reports whether s is ASCII and short enough, so that it fits unchanged.
func (f *fit) plain(s string) bool {
	if f.charset != nil && !f.charset.ascii {
		return false
	}
	if n := int64(len(s)); f.over(n, n*f.charset.bytes('a')) {
		return false
	}
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
