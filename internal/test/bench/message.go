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

// A message is the text of a message; no line begins with a dot.
type message []byte

// A style is how a client sends a message.
type style struct {
	recipients int
	pipelining bool // MAIL, RCPT and DATA in one write
	chunks     bool // BDAT instead of DATA, in one write
	refused    bool // the recipient is in refusedDomain
}

// refusedDomain is a domain for which no contestant receives.
const refusedDomain = "refused.example"

// constant returns a list of one message with this size.
func constant(size int) []message {
	head := "From: a@b.com\r\nTo: test@example.com\r\nSubject: benchmark\r\n\r\n"
	line := strings.Repeat("x", 78) + "\r\n"
	text := head + strings.Repeat(line, max(0, size-len(head))/len(line)+1)
	return []message{message(text[:max(size-2, len(head))] + "\r\n")}
}

// varied returns 100 multipart messages of 1 KB to 2 MB, the same in each call. The
// distribution of the sizes is log-normal with a median of 20 KB.
func varied() []message {
	const (
		count         = 100
		least, most   = 1000, 2_000_000
		median, sigma = 20_000, 1.5
	)
	random := rand.New(rand.NewPCG(1, 2))
	messages := make([]message, count)
	for i := range messages {
		size := median * math.Exp(sigma*random.NormFloat64())
		messages[i] = multipart(i, int(min(max(size, least), most)))
	}
	return messages
}

// multipart returns message n, which has a short text and an attachment.
func multipart(n, size int) message {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: =?utf-8?q?Zo=C3=AB?= <zoe@b.com>\r\nTo: test@example.com\r\nSubject: =?utf-8?b?%s?=\r\n"+
		"Date: Thu, 26 Nov 2026 12:00:00 +0000\r\nMessage-ID: <%d@b.com>\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: multipart/mixed; boundary=\"=_%d\"\r\n\r\n--=_%d\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
		base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "Grüße Nr. %d", n)), n, n, n)
	for range 5 {
		b.WriteString("A line of text, of which most messages have a few more.\r\n")
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
func (p *peer) send(m message, s style, o *outcome) error {
	if s.refused {
		o.Refused++
		if err := p.command([]byte("MAIL FROM:<a@b.com>\r\n"), 250); err != nil {
			return err
		}
		if err := p.command([]byte("RCPT TO:<test@"+refusedDomain+">\r\n"), 550); err != nil {
			return err
		}
		return p.command([]byte("RSET\r\n"), 250)
	}
	if err := p.envelope(s); err != nil {
		return err
	}
	begin, end := "", ".\r\n"
	if s.chunks {
		begin, end = fmt.Sprintf("BDAT %d LAST\r\n", len(m)), ""
	}
	text := slices.Concat([]byte(begin), m, []byte(end)) // one write, as smtp-source does
	begun := time.Now()
	if err := p.command(text, 250); err != nil {
		return err
	}
	if len(o.Waits) < maxWaits {
		o.Waits = append(o.Waits, time.Since(begun))
	}
	o.Messages++
	o.Rows += s.recipients
	return nil
}

// envelope sends the commands before the text.
func (p *peer) envelope(s style) error {
	commands, codes := []string{"MAIL FROM:<a@b.com>\r\n"}, []int{250}
	for i := range s.recipients {
		commands, codes = append(commands, fmt.Sprintf("RCPT TO:<test%d@example.com>\r\n", i)), append(codes, 250)
	}
	if !s.chunks {
		commands, codes = append(commands, "DATA\r\n"), append(codes, 354)
	}
	if s.pipelining || s.chunks {
		return p.command([]byte(strings.Join(commands, "")), codes...)
	}
	for i, c := range commands {
		if err := p.command([]byte(c), codes[i]); err != nil {
			return err
		}
	}
	return nil
}
