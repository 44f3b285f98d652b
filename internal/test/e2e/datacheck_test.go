package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"goguerrillad/internal/mailinfo"
	"goguerrillad/internal/savemail/newmail"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/daemon"
)

// A dataCheck sends random messages to one table and compares the rows with the
// converted values.
type dataCheck struct {
	*testing.T
	values
	columns *dataTable // nil: a store that stores every value unchanged
	daemon  *daemon.Daemon
	table   *table // nil: only the replies are checked
	last    int    // mail_id of the last row
}

// converted lets the server convert a text to the character set of a column and back.
// It returns the result and the number of bytes in that set. Each character that the
// conversion changes is '?' in the result, also where the server returns another
// character: tis620 replaces some characters beyond U+FFFF with Thai letters.
func (c *dataCheck) converted(column, text string) (kept string, size int) {
	if c.columns == nil || c.columns.inBytes(column) {
		return text, len(text)
	}
	convert := fmt.Sprintf("CONVERT(_utf8mb4 x'%x' USING %s)", text, c.columns.set)
	if err := c.table.db.QueryRow("SELECT CONVERT("+convert+" USING utf8mb4), OCTET_LENGTH("+convert+")").Scan(&kept, &size); err != nil {
		c.Fatal(err)
	}
	want, runes := []rune(text), []rune(kept)
	if len(runes) != len(want) {
		c.Fatalf("%s: the server converts %q to %q", c.columns.set, text, kept)
	}
	for i := range runes {
		if runes[i] != want[i] {
			runes[i] = '?'
		}
	}
	return string(runes), size
}

// fits reports whether a column can hold an address unchanged.
func (c *dataCheck) fits(column, address string) bool {
	if c.columns == nil {
		return true
	}
	kept, size := c.converted(column, address)
	switch col := c.columns.text[column]; {
	case kept != address:
		return false
	case col.width > 0 && c.columns.inBytes(column):
		return size <= col.width
	case col.width > 0:
		return utf8.RuneCountInString(address) <= col.width
	case col.kind == "tinytext":
		return size <= 255
	}
	return true
}

// compareColumn compares the content of a column with the value that was sent. A column
// of n characters or n bytes holds exactly the part of the value that fits. A TINYTEXT
// with a character set holds 255 bytes, so at least 255 divided by the bytes of the
// set's longest character.
func (c *dataCheck) compareColumn(column, got, value string) {
	if c.columns == nil {
		if got != value {
			c.Errorf("%s holds %q, want %q", column, got, value)
		}
		return
	}
	want, _ := c.converted(column, value)
	col := c.columns.text[column]
	minChars, exact := utf8.RuneCountInString(want), false
	switch inBytes := c.columns.inBytes(column); {
	case col.width > 0 && !inBytes:
		want, exact = string([]rune(want)[:min(minChars, col.width)]), true
	case col.width > 0:
		want, exact = cutBytes(want, col.width), true
	case col.kind == "tinytext" && inBytes:
		want, exact = cutBytes(want, 255), true
	case col.kind == "tinytext":
		minChars = min(minChars, 255/c.columns.maxWidth)
	}
	if col.kind == "char" { // the server strips blanks at the end when it reads a CHAR
		got, want = strings.TrimRight(got, " \x00"), strings.TrimRight(want, " \x00")
	}
	// Some sets, such as that of latin2_czech_cs, return control characters as '?'.
	got, want = strings.Map(withoutControls, got), strings.Map(withoutControls, want)
	if exact && got != want || !exact && (!strings.HasPrefix(want, got) || utf8.RuneCountInString(got) < minChars) {
		c.Errorf("%s %v holds %q, want %q", column, col, got, want)
	}
}

// cutBytes returns the longest prefix of s that has at most n bytes and ends between two
// characters.
func cutBytes(s string, n int) string {
	for i, r := range s {
		if i+utf8.RuneLen(r) > n {
			return s[:i]
		}
	}
	return s
}

// compareAttachments compares the attachments of a row with the attachments of the
// message. The row may lack the last attachments if the column is too small.
func (c *dataCheck) compareAttachments(got string, want []mailinfo.Attachment) {
	var list []mailinfo.Attachment
	if err := json.Unmarshal([]byte(got), &list); err != nil || len(list) > len(want) {
		c.Errorf("attach_info holds %q, want at most %d attachments: %v", got, len(want), err)
		return
	}
	for i, a := range list {
		a.Name, want[i].Name = strings.Map(withoutControls, a.Name), strings.Map(withoutControls, want[i].Name)
		if a != want[i] {
			c.Errorf("attach_info[%d]: %+v, want %+v", i, a, want[i])
		}
	}
	if unlimited := c.columns == nil || c.columns.text["attach_info"].kind == "text"; unlimited && len(list) != len(want) {
		c.Errorf("attach_info holds %d of %d attachments", len(list), len(want))
	}
}

func withoutControls(r rune) rune {
	if unicode.IsControl(r) {
		return '?'
	}
	return r
}

// sendRandom sends a random message and checks that it is stored for each accepted
// recipient.
func (c *dataCheck) sendRandom(token string) {
	text := c.values.message(token)
	from, to := "", c.mailboxes(5)
	if c.IntN(5) > 0 {
		from = c.mailbox()
	}
	conn, err := client.Connect(c.daemon.Addr, 60*time.Second)
	if err != nil {
		c.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Expect(250, "EHLO %s", c.values.text(30, func(r rune) bool { return r > ' ' })+"x"); err != nil {
		c.Fatal(err)
	}
	params := " BODY=8BITMIME"
	if !isASCII(from + strings.Join(to, "")) {
		params += " SMTPUTF8"
	}
	if _, err := conn.Expect(250, "MAIL FROM:<%s>%s", from, params); err != nil {
		c.Fatal(err)
	}
	var accepted []string
	for _, address := range to {
		r, err := conn.Cmd("RCPT TO:<%s>", address)
		if fits := c.fits("to", address) && c.fits("recipient", address); err != nil || r.Code/100 != 2 && r.Code/100 != 5 || (r.Code == 250) != fits {
			c.Errorf("RCPT TO:<%s>: reply %v, %v; the columns can hold the address: %v", address, r, err, fits)
		}
		if r.Code == 250 {
			accepted = append(accepted, address)
		}
	}
	if len(accepted) == 0 {
		return
	}
	if _, err := conn.Expect(354, "DATA"); err != nil {
		c.Fatal(err)
	}
	if _, err := conn.Conn.Write(client.Stuff([]byte(text))); err != nil {
		c.Fatal(err)
	}
	r, err := conn.Reply()
	if err != nil || r.Code != 250 {
		log := c.daemon.Log()
		c.Fatalf("message from %q to %q: reply %v, %v, want 250\n%q\n%s", from, accepted, r, err, text, log[max(0, len(log)-1000):])
	}
	if c.table != nil {
		c.compareRows(from, accepted, text, token, r.Hash())
	}
}

// compareRows compares the rows of the last message with the values that were sent.
func (c *dataCheck) compareRows(from string, to []string, text, token, hash string) {
	info := mailinfo.Parse([]byte(text))
	binary := "CAST(mail AS BINARY)"
	if c.columns == nil {
		binary = "mail"
	}
	rows, err := c.table.db.Query("SELECT mail_id, `from`, `to`, recipient, subject, body, charset, content_type, ip_addr, attach_info, has_attach, hash, mail, "+binary+" FROM "+
		c.table.name+" WHERE mail_id > ? ORDER BY mail_id", c.last)
	if err != nil {
		c.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var r row
		var bytes []byte // of mail, without a conversion
		if err := rows.Scan(&c.last, &r.from, &r.to, &r.recipient, &r.subject, &r.body, &r.charset, &r.contentType, &r.ip,
			&r.attach, &r.hasAttach, &r.hash, &r.mail, &bytes); err != nil {
			c.Fatal(err)
		}
		if n >= len(to) {
			continue
		}
		c.compareColumn("to", r.to, to[n])
		c.compareColumn("recipient", r.recipient, to[n])
		c.compareColumn("from", r.from, from)
		c.compareColumn("subject", r.subject, info.Subject)
		c.compareColumn("charset", r.charset, info.Charset)
		c.compareColumn("content_type", r.contentType, info.ContentType)
		ip := "127.0.0.1"
		if c.columns != nil && c.columns.inBytes("ip_addr") && c.columns.text["ip_addr"].width == 16 {
			ip = "\x7f\x00\x00\x01" // VARBINARY(16) holds the bytes of the address
		}
		c.compareColumn("ip_addr", r.ip, ip)
		c.compareAttachments(r.attach, slices.Clone(info.Attachments))
		if want := min(1, len(info.Attachments)); r.hasAttach != want {
			c.Errorf("has_attach %d, want %d", r.hasAttach, want)
		}
		if len(r.hash) != 32 || n == 0 && r.hash != hash {
			c.Errorf("hash of row %d is %q, the reply contains %s", n, r.hash, hash)
		}
		if r.body == newmail.BodyZlib {
			r.mail = bytes
		}
		mail, err := newmail.Expand(r.body, r.mail)
		if whole := strings.HasSuffix(string(mail), text); err != nil || !whole && (c.columns == nil || c.columns.mail != "longtext" || !strings.Contains(string(mail), token)) {
			c.Errorf("mail holds %q, %v, want %q", mail, err, text)
		}
	}
	if err := rows.Err(); err != nil || n != len(to) {
		c.Errorf("%d rows for %d recipients, %v", n, len(to), err)
	}
}
