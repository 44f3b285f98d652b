package storetest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/mailinfo"
)

const text = "Subject: hello\r\nFrom: a@example.org\r\n\r\nbody\r\n"

// Hash returns 32 random hexadecimal digits, of which the first four are i.
func Hash(i int) string {
	return fmt.Sprintf("%04x%012x%016x", i, rand.Uint64()>>16, rand.Uint64())
}

func one(t *testing.T, h Harness) {
	e := Envelope(text, "b@example.com")
	save(t, h.Store, e)
	if rows, ok := h.rows(t, 1); ok {
		h.check(t, rows[0], e, 0)
		h.compareValues(t, rows[0], map[string]string{"subject": "hello", "ip_addr": "192.0.2.7", "has_attach": "0", "attach_info": "[]"})
	}
}

func manyRecipients(t *testing.T, h Harness) {
	var to []string
	for i := range 100 {
		to = append(to, fmt.Sprintf("user%d@example.com", i))
	}
	// All rows together exceed the largest statement.
	e := Envelope(text+strings.Repeat(strings.Repeat("x", 76)+"\r\n", 400), to...)
	save(t, h.Store, e)
	if rows, ok := h.rows(t, len(to)); ok {
		for i, row := range rows {
			h.check(t, row, e, i)
		}
	}
}

func nullSender(t *testing.T, h Harness) {
	e := Envelope(text, "b@example.com")
	e.From, e.Remote = "", netip.AddrPort{}
	mapped := Envelope(text, "c@example.com")
	mapped.Remote = netip.MustParseAddrPort("[::ffff:198.51.100.1]:25")
	save(t, h.Store, e, mapped)
	if rows, ok := h.rows(t, 2); ok {
		h.check(t, rows[0], e, 0)
		h.check(t, rows[1], mapped, 0)
		h.compareValues(t, rows[0], map[string]string{"ip_addr": ""})
		h.compareValues(t, rows[1], map[string]string{"ip_addr": "198.51.100.1"})
	}
}

func exactBytes(t *testing.T, h Harness) {
	var all strings.Builder
	for i := range 256 {
		all.WriteByte(byte(i))
	}
	messages := []string{
		"",
		"\r\n",
		"no header at all",
		"Subject: x\r\n\r\n" + all.String() + all.String(),
		"Subject: quotes\r\n\r\n'\"`\\ ? % _ \x1a \x00' -- \r\n",
		"Subject: bare\r\n\r\nlone \r and \n, .\r\n..\r\n.\n",
		"Subject: long line\r\n\r\n" + strings.Repeat("y", 100_000),
		"Subject: \xff\xfe raw\r\nX: \xed\xa0\x80\r\n\r\n\xc3",
	}
	var sent []*envelope.Envelope
	for _, m := range messages {
		sent = append(sent, Envelope(m, "b@example.com"))
	}
	save(t, h.Store, sent...)
	if rows, ok := h.rows(t, len(sent)); ok {
		for i, row := range rows {
			h.check(t, row, sent[i], 0)
			if !utf8.ValidString(row.Subject) {
				t.Errorf("subject is %q, want valid UTF-8", row.Subject)
			}
		}
	}
}

func batch(t *testing.T, h Harness) {
	for _, n := range []int{50, 1, 50, 51, 7} {
		var sent []*envelope.Envelope
		for i := range n {
			sent = append(sent, Envelope(text, fmt.Sprintf("u%d@example.com", i)))
		}
		save(t, h.Store, sent...)
		if h.Rows == nil {
			continue
		}
		rows := h.Rows(t)
		if len(rows) < n {
			t.Fatalf("%d rows after a batch of %d, want at least as many", len(rows), n)
		}
		for i, row := range rows[len(rows)-n:] {
			h.check(t, row, sent[i], 0)
		}
	}
	h.rows(t, 159)
}

// mixedBatch alternates envelopes with one recipient and with several recipients.
func mixedBatch(t *testing.T, h Harness) {
	var sent []*envelope.Envelope
	n := 0
	for i := range 12 {
		var to []string
		for j := range i%4 + 1 {
			to = append(to, fmt.Sprintf("u%d.%d@example.com", i, j))
		}
		n += len(to)
		sent = append(sent, Envelope(fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat("z", i*3000)), to...))
	}
	save(t, h.Store, sent...)
	if rows, ok := h.rows(t, n); ok {
		for _, e := range sent {
			for i := range e.To {
				h.check(t, rows[0], e, i)
				rows = rows[1:]
			}
		}
	}
}

func big(t *testing.T, h Harness) {
	noise := make([]byte, cmp.Or(h.MaxSize, 15_000_000))
	if testing.Short() {
		noise = noise[:1_000_000]
	}
	rand.NewChaCha8([32]byte{}).Read(noise)
	small := Envelope(text, "a@example.com")
	e := Envelope("Subject: big\r\n\r\n"+string(noise), "b@example.com", "c@example.com")
	saveRetrying(t, h.Store, small, e)
	if rows, ok := h.rows(t, 3); ok {
		h.check(t, rows[0], small, 0)
		h.check(t, rows[1], e, 0)
		h.check(t, rows[2], e, 1)
	}
}

func noInfo(t *testing.T, h Harness) {
	e := Envelope(text, "b@example.com")
	e.Info = mailinfo.Info{}
	save(t, h.Store, e)
	if rows, ok := h.rows(t, 1); ok {
		h.check(t, rows[0], e, 0)
	}
}

func attachments(t *testing.T, h Harness) {
	few := Envelope(text, "b@example.com")
	few.Info.Attachments = []mailinfo.Attachment{
		{Name: "a \"b\" <c>.txt", Type: "text/plain", Size: 3},
		{Name: "\u00fc\u4e2d.pdf", Type: "application/pdf", Size: 1 << 40},
	}
	many := Envelope(text, "c@example.com")
	for i := range 2000 {
		many.Info.Attachments = append(many.Info.Attachments,
			mailinfo.Attachment{Name: fmt.Sprintf("\u00fc%d.bin", i), Type: "application/octet-stream", Size: int64(i)})
	}
	save(t, h.Store, few, many)
	rows, ok := h.columns(t, 2)
	if !ok {
		return
	}
	for i, e := range []*envelope.Envelope{few, many} {
		h.check(t, rows[i], e, 0)
		var list []mailinfo.Attachment
		if err := json.Unmarshal([]byte(rows[i].AttachInfo), &list); err != nil {
			t.Fatalf("attach_info: %v", err)
		}
		if len(list) < min(len(e.Info.Attachments), 200) || rows[i].HasAttach != 1 {
			t.Errorf("%d of %d attachments, has_attach %d, want at least 200 or all, and 1", len(list), len(e.Info.Attachments), rows[i].HasAttach)
		}
		for j, a := range list {
			if a != e.Info.Attachments[j] {
				t.Errorf("attachment %d is %v, want %v", j, a, e.Info.Attachments[j])
			}
		}
	}
}

// unicodeValues accepts a '?' for each character above U+FFFF, since the character set of
// a column may lack it.
func unicodeValues(t *testing.T, h Harness) {
	e := Envelope(text, "b@example.com")
	e.Info.Subject = "gr\u00fc\u00dfe \u20ac \u4e2d\u6587 \U0001F600 end"
	save(t, h.Store, e)
	if rows, ok := h.columns(t, 1); ok {
		h.check(t, rows[0], e, 0)
		got, want := []rune(rows[0].Subject), []rune(e.Info.Subject)
		if len(got) != len(want) {
			t.Fatalf("subject %q, want %q", rows[0].Subject, e.Info.Subject)
		}
		for i := range got {
			if got[i] != want[i] && (got[i] != '?' || want[i] < 0x10000) {
				t.Errorf("subject %q, want %q", rows[0].Subject, e.Info.Subject)
			}
		}
	}
}

// longValues accepts truncated values if they fill at least the width in the schema.
func longValues(t *testing.T, h Harness) {
	e := Envelope(text, "b@example.com")
	e.From = strings.Repeat("f", 200) + "@example.org"
	e.Info = mailinfo.Info{
		Subject:     strings.Repeat("\u00fc", 1000),
		Charset:     strings.Repeat("c", 500),
		ContentType: "text/" + strings.Repeat("t", 500),
	}
	e.Remote = netip.MustParseAddrPort("[2001:db8:1234:5678:9abc:def0:1234:5678%eth0]:25")
	room := e.HeadRoom()
	e.SetMessage(append(make([]byte, room), text...), room)
	save(t, h.Store, e)
	rows, ok := h.columns(t, 1)
	if !ok {
		return
	}
	for _, v := range []struct {
		column, got, want string
		width             int
	}{
		{"from", rows[0].From, e.From, 128},
		{"subject", rows[0].Subject, e.Info.Subject, 255},
		{"charset", rows[0].Charset, e.Info.Charset, 32},
		{"content_type", rows[0].ContentType, e.Info.ContentType, 64},
		{"ip_addr", rows[0].IP, "2001:db8:1234:5678:9abc:def0:1234:5678", 15},
	} {
		if !strings.HasPrefix(v.want, v.got) || utf8.RuneCountInString(v.got) < v.width {
			t.Errorf("%s is %q, want at least %d characters of %q", v.column, v.got, v.width, v.want)
		}
	}
}

// everyColumn tests the values of the columns that the table of 2012 lacks.
func everyColumn(t *testing.T, h Harness) {
	full := Envelope("Message-ID: <1@example.org>\r\nReply-To: Bob <bob@example.org>\r\nSender: eve@example.org\r\n"+text, "b@example.com", "c@example.com")
	full.TLS, full.Protocol, full.Login, full.Proxy = "TLSv1.3 TLS_AES_128_GCM_SHA256", "ESMTPSA", "user", "192.0.2.99"
	long := Envelope("Message-ID: <"+strings.Repeat("m", 900)+"@example.org>\r\nReply-To: "+strings.Repeat("r", 900)+"@example.org\r\n"+
		"Sender: "+strings.Repeat("s", 900)+"@example.org\r\n"+text, "d@example.com")
	long.Helo, long.Login, long.TLS, long.Proxy = strings.Repeat("h", 900), strings.Repeat("l", 900), strings.Repeat("t", 900), strings.Repeat("p", 900)
	empty := Envelope(text, "e@example.com")
	empty.Helo = ""
	save(t, h.Store, full, long, empty)
	rows, ok := h.rows(t, 4)
	if !ok {
		return
	}
	if later := rows[0].has("return_path") && !rows[0].has("charset"); rows[0].packed != later {
		t.Errorf("ip_addr holds the bytes of the address: %v, want %v", rows[0].packed, later)
	}
	for i := range 2 {
		h.check(t, rows[i], full, i)
		h.compareValues(t, rows[i], map[string]string{
			"message_id": "1@example.org", "reply_to": "bob@example.org", "sender": "eve@example.org", "return_path": "a@example.org", "is_tls": "1",
			"helo": "client.example.org", "size": strconv.Itoa(full.Size()), "tls": full.TLS, "login": "user", "proxy": "192.0.2.99",
		})
	}
	h.check(t, rows[2], long, 0)
	for column, want := range map[string]string{"message_id": long.Info.MessageID, "reply_to": long.Info.ReplyTo, "sender": long.Info.Sender,
		"helo": long.Helo, "login": long.Login, "tls": long.TLS, "proxy": long.Proxy} {
		if got := rows[2].text[column]; rows[2].has(column) && (got == "" || !strings.HasPrefix(want, got)) {
			t.Errorf("%s is %q, want the beginning of %q", column, got, want)
		}
	}
	h.check(t, rows[3], empty, 0)
	h.compareValues(t, rows[3], map[string]string{"message_id": "", "reply_to": "", "sender": "", "return_path": "a@example.org", "is_tls": "0",
		"helo": "", "tls": "", "login": "", "proxy": ""})
}
