package mailinfo_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"goguerrillad/internal/mailinfo"
)

const receivedBlock = "Received: from mail.example.org ([192.0.2.1]) by mx.example.com with ESMTPS\r\n" +
	"\tid 0123456789abcdef0123456789abcdef for <bob@example.com>;\r\n" +
	"\tSat, 07 Mar 2026 01:02:03 +0100\r\n"

// ordinary returns a typical message of about 5 KB with two alternatives.
func ordinary() []byte {
	return []byte(strings.Repeat(receivedBlock, 5) +
		"From: =?utf-8?Q?J=C3=BCrgen?= <j@example.org>\r\nTo: bob@example.com\r\n" +
		"Subject: =?UTF-8?B?R3LDvMOfZSBhdXMgTcO8bmNoZW4=?=\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/alternative; boundary=\"000000000000a1b2c3062\"\r\n\r\n" +
		"--000000000000a1b2c3062\r\nContent-Type: text/plain; charset=\"UTF-8\"\r\n\r\n" +
		strings.Repeat("All work and no play makes Jack a dull boy, in lines of text like these.\r\n", 20) +
		"--000000000000a1b2c3062\r\nContent-Type: text/html; charset=\"UTF-8\"\r\n" +
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n" +
		strings.Repeat("<p>All work and no play makes Jack a dull boy, in lines of text like =\r\n", 30) +
		"--000000000000a1b2c3062--\r\n")
}

// attached returns a message with one base64 attachment of about size bytes.
func attached(size int) []byte {
	b := bytes.NewBufferString(receivedBlock + "Subject: big\r\n" +
		"Content-Type: multipart/mixed; boundary=\"000000000000a1b2c3062\"\r\n\r\n" +
		"--000000000000a1b2c3062\r\n\r\ntext\r\n--000000000000a1b2c3062\r\n" +
		"Content-Type: application/octet-stream; name=big.bin\r\n" +
		"Content-Disposition: attachment; filename=big.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	line := base64.StdEncoding.EncodeToString(make([]byte, 57)) + "\r\n"
	for ; size > 0; size -= 57 {
		b.WriteString(line)
	}
	b.WriteString("--000000000000a1b2c3062--\r\n")
	return b.Bytes()
}

func BenchmarkParse(b *testing.B) {
	for _, bb := range []struct {
		name    string
		message []byte
	}{
		{"ordinary", ordinary()},
		{"plain", []byte(receivedBlock + "Subject: hello\r\n\r\n" + strings.Repeat("text\r\n", 800))},
		{"attachment", attached(10 << 20)},
		{"words", []byte("Subject: " + strings.Repeat("=?utf-8?Q?a?= ", 100_000))},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bb.message)))
			for b.Loop() {
				mailinfo.Parse(bb.message)
			}
		})
	}
}
