package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A mail is a message as it goes over the wire; none of its lines begins with
// a dot.
type mail []byte

// A style is how a message is sent.
type style struct {
	recipients int
	pipelining bool // MAIL, RCPT and DATA in one write
	chunks     bool // BDAT in place of DATA, all in one write
	refused    bool // to a domain that nobody receives for, alone
}

// refusedDomain is one that no contestant receives for.
const refusedDomain = "refused.example"

// constant is one message of a size.
func constant(size int) []mail {
	head := "From: a@b.com\r\nTo: test@example.com\r\nSubject: benchmark\r\n\r\n"
	line := strings.Repeat("x", 78) + "\r\n"
	text := head + strings.Repeat(line, max(0, size-len(head))/len(line)+1)
	return []mail{mail(text[:max(size-2, len(head))] + "\r\n")}
}

// varied is what people send: a hundred multipart messages of 1 KB to 2 MB,
// half of them below 20 KB (log-normal), the same in each run.
func varied() []mail {
	const (
		count         = 100
		least, most   = 1000, 2_000_000
		median, sigma = 20_000, 1.5
	)
	random := rand.New(rand.NewPCG(1, 2))
	mails := make([]mail, count)
	for i := range mails {
		size := median * math.Exp(sigma*random.NormFloat64())
		mails[i] = multipart(i, int(min(max(size, least), most)))
	}
	return mails
}

// multipart has a text of a few hundred bytes and an attachment with the rest.
func multipart(n, size int) mail {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: =?utf-8?q?Zo=C3=AB?= <zoe@b.com>\r\nTo: test@example.com\r\nSubject: =?utf-8?b?%s?=\r\n"+
		"Date: Thu, 26 Nov 2026 12:00:00 +0000\r\nMessage-ID: <%d@b.com>\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: multipart/mixed; boundary=\"=_%d\"\r\n\r\n--=_%d\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
		base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "Grüße Nr. %d", n)), n, n, n)
	for range 5 {
		b.WriteString("A line of text, of which there are a few in most mails.\r\n")
	}
	fmt.Fprintf(&b, "\r\n--=_%d\r\nContent-Type: application/pdf; name=\"invoice %d.pdf\"\r\n"+
		"Content-Disposition: attachment; filename=\"invoice %d.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n", n, n, n)
	line := bytes.Repeat([]byte{byte(n), 'x', byte(n >> 1)}, 19)
	for b.Len() < size {
		b.WriteString(base64.StdEncoding.EncodeToString(line) + "\r\n")
	}
	fmt.Fprintf(&b, "--=_%d--\r\n", n)
	return b.Bytes()
}

// send sends a message.
func (p *peer) send(m mail, s style, o *outcome) error {
	if s.refused {
		o.Refused++
		if err := p.say([]byte("MAIL FROM:<a@b.com>\r\n"), 250); err != nil {
			return err
		}
		if err := p.say([]byte("RCPT TO:<test@"+refusedDomain+">\r\n"), 550); err != nil {
			return err
		}
		return p.say([]byte("RSET\r\n"), 250)
	}
	if err := p.envelope(s); err != nil {
		return err
	}
	begin, end := "", ".\r\n"
	if s.chunks {
		begin, end = fmt.Sprintf("BDAT %d LAST\r\n", len(m)), ""
	}
	text := slices.Concat([]byte(begin), m, []byte(end)) // one write, as smtp-source does it
	begun := time.Now()
	if err := p.say(text, 250); err != nil {
		return err
	}
	if len(o.Waits) < maxWaits {
		o.Waits = append(o.Waits, time.Since(begun))
	}
	o.Messages++
	o.Rows += s.recipients
	return nil
}

// envelope says all that comes before the text.
func (p *peer) envelope(s style) error {
	commands, codes := []string{"MAIL FROM:<a@b.com>\r\n"}, []int{250}
	for i := range s.recipients {
		commands, codes = append(commands, fmt.Sprintf("RCPT TO:<test%d@example.com>\r\n", i)), append(codes, 250)
	}
	if !s.chunks {
		commands, codes = append(commands, "DATA\r\n"), append(codes, 354)
	}
	if s.pipelining || s.chunks {
		return p.say([]byte(strings.Join(commands, "")), codes...)
	}
	for i, c := range commands {
		if err := p.say([]byte(c), codes[i]); err != nil {
			return err
		}
	}
	return nil
}
