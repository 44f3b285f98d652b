package newmail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/savemail"
)

// A Row has the values that all rows of one envelope share, fitted to the columns.
// The store adds to, recipient, hash and mail of each recipient, the date of its own
// clock, and spam_score 0. A recipient whose message is in Redis has BodyRedis and
// an empty mail.
type Row struct {
	From, Subject, Body, Charset, ContentType, IP string

	HasAttach  int    // 0 or 1
	AttachInfo string // JSON, "[]" without attachments
}

// The values of the column body: the form of the column mail.
const (
	BodyPlain = ""         // unchanged
	BodyZlib  = "gzencode" // zlib (RFC 1950); the 2012 program used this name
	BodyRedis = "redis"    // empty, the message is in Redis
)

// Row returns the values of an envelope's rows. The error is ErrRejected if the
// columns cannot hold a recipient. Normally the session has refused such a
// recipient already.
func (c *Columns) Row(e *envelope.Envelope, compress bool) (Row, error) {
	for _, to := range e.To {
		if r := c.Fits(to.Address); r != nil {
			return Row{}, fmt.Errorf("%w: recipient %q: %s", savemail.ErrRejected, to.Address, r.Text)
		}
	}
	row := Row{
		From:        c.from.text(e.From),
		Subject:     c.subject.text(e.Info.Subject),
		Charset:     c.charset.text(e.Info.Charset),
		ContentType: c.contentType.text(e.Info.ContentType),
		IP:          c.ip.text(ipText(e.Remote)),
		AttachInfo:  c.attach.list(e.Info.Attachments),
	}
	if compress {
		row.Body = c.body.text(BodyZlib)
	}
	if len(e.Info.Attachments) > 0 {
		row.HasAttach = 1
	}
	return row, nil
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

// ipText returns the address without port and zone, "" for a client on a unix
// socket.
func ipText(remote netip.AddrPort) string {
	ip := remote.Addr().Unmap().WithZone("")
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
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
