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

// A Row has the values that the rows of one envelope share, fitted to the
// columns. What differs is the recipient's: to and recipient, hash, and mail,
// or BodyRedis with an empty mail where the recipient is InRedis.
// Date is the store's own clock; delivered and dkim_valid have their defaults,
// and spam_score is 0.
type Row struct {
	From, Subject, Body, Charset, ContentType, IP string

	HasAttach  int    // 0 or 1
	AttachInfo string // JSON, "[]" when there is none
}

// What the column body says of the column mail.
const (
	BodyPlain = ""         // as it is
	BodyZlib  = "gzencode" // zlib (RFC 1950), under the name that the original gave it
	BodyRedis = "redis"    // empty, the original's way
)

// Row makes the values of an envelope's rows. It fails with ErrRejected when a
// recipient cannot be stored whole, which the session normally finds first.
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

// CheckMail fails with ErrRejected when the column mail is too small for n
// bytes: a server that is not in strict mode would cut them silently.
func (c *Columns) CheckMail(n int64) error {
	if c.MailIsText() {
		n *= c.mail.charset.bytes('a')
	}
	if !c.mail.over(0, n) {
		return nil
	}
	return fmt.Errorf("%w: %d bytes are too many for the column mail, which takes %d", savemail.ErrRejected, n, c.mail.bytes)
}

// ipText is the address without port and zone, "" for a client on a unix
// socket.
func ipText(remote netip.AddrPort) string {
	ip := remote.Addr().Unmap().WithZone("")
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}

// list writes the attachments as a JSON list, without the last ones if they
// are too many for the column, so that it stays valid.
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

// entry writes one attachment; what the column's set lacks is escaped as JSON
// has it, and so costs nothing.
func (f *fit) entry(a mailinfo.Attachment) string {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(a); err != nil {
		return "{}" // strings and a number: never
	}
	entry := strings.TrimSuffix(buf.String(), "\n")
	if _, whole := f.size(entry); whole {
		return entry
	}
	var b strings.Builder
	for _, r := range entry {
		switch {
		case r < utf8.RuneSelf || f.charset.Has(r): // ASCII is JSON's own
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
