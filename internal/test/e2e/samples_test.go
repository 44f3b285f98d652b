package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"

	"goguerrillad/internal/test/servers"
)

// A sample is a message and the values that the daemon must store for it.
type sample struct {
	name                string
	local               string // the recipient's local part
	from                string
	utf8                bool
	text                []byte
	subject, charset    string
	contentType, attach string
	hasAttach           int
}

func samples() []sample {
	return []sample{{
		name: "text", local: "plain", from: "sender@senders.example",
		text: lines("Subject: a plain text", "", ".", "..", ". dot", "trailing blanks  ", "\ttab",
			strings.Repeat("x", 900), "", "From no one", "", ""),
		subject: "a plain text", charset: "UTF-8", contentType: "text/plain", attach: "[]",
	}, {
		name: "8bit", local: "eight", from: "sender@senders.example",
		text: lines("Subject: =?iso-8859-1?Q?Gr=FC=DFe?=", "MIME-Version: 1.0",
			"Content-Type: TEXT/plain; charset=ISO-8859-15", "Content-Transfer-Encoding: 8bit", "",
			"\xa4 \xfc\xe4\xf6 \x80\xff", ".\xfc"),
		subject: "Grüße", charset: "ISO-8859-15", contentType: "text/plain", attach: "[]",
	}, {
		name: "utf8", local: "jürgen", from: "grüße@senders.example", utf8: true,
		text: lines("Subject: Grüße aus 東京", "MIME-Version: 1.0",
			"Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit", "", "naïve 東京"),
		subject: "Grüße aus 東京", charset: "utf-8", contentType: "text/plain", attach: "[]",
	}, attachment()}
}

// attachment returns a message with a file of 10 MB, or of half the largest row
// if a row cannot hold 10 MB.
func attachment() sample {
	const size = min(10_000_000, servers.LargestRow/2)
	file := make([]byte, size)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(file)
	encoded := base64.StdEncoding.EncodeToString(file)
	var body bytes.Buffer
	for len(encoded) > 0 {
		n := min(76, len(encoded))
		body.WriteString(encoded[:n] + "\r\n")
		encoded = encoded[n:]
	}
	text := lines("Subject: with a file", "MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=\"=_b\"", "",
		"--=_b", "Content-Type: text/plain; charset=us-ascii", "", "see the file",
		"--=_b", "Content-Type: application/octet-stream", "Content-Transfer-Encoding: base64",
		"Content-Disposition: attachment; filename*=utf-8''%C3%A9t%C3%A9.bin", "")
	text = append(text, body.Bytes()...)
	text = append(text, "--=_b--\r\n"...)
	return sample{
		name: "attachment", local: "big", from: "sender@senders.example", text: text,
		subject: "with a file", charset: "us-ascii", contentType: "multipart/mixed", hasAttach: 1,
		attach: fmt.Sprintf(`[{"name":"été.bin","type":"application/octet-stream","size":%d}]`, size),
	}
}

// lines returns a message of the given lines. It begins with the header fields that
// a sender would add if they were missing.
func lines(l ...string) []byte {
	head := "Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <e2e@senders.example>\r\n" +
		"From: <sender@senders.example>\r\nTo: undisclosed-recipients:;\r\n"
	return []byte(head + strings.Join(l, "\r\n") + "\r\n")
}
