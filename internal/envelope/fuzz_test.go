package envelope_test

import (
	"bytes"
	"net/mail"
	"net/netip"
	"strings"
	"testing"

	"goguerrillad/internal/envelope"
)

// FuzzBlob tests that for any values from a client, the added header has three
// fields in lines that end with CR LF, fits in HeadRoom bytes, and does not
// change the text.
func FuzzBlob(f *testing.F) {
	f.Add("mail.example.org", "ESMTPS", "TLSv1.3 X", "mx", "a@b.example", "c@d.example", "Subject: x\r\n\r\n", []byte{192, 0, 2, 1})
	f.Add("", "UTF8SMTP", "", "mx", "", "\"q q\"@é.example", "", []byte{})
	f.Add("\x00)(\xff\\", "SMTP", "(", strings.Repeat("h", 300), strings.Repeat("f", 256), strings.Repeat("t", 256), " x", []byte(strings.Repeat("\xfe", 16)))
	long := strings.Repeat("x", 255)
	f.Add(long, long, long, long, long, long, "", []byte(strings.Repeat("\xfe", 16))) // each word on a separate line
	f.Add("a..b.", "", "", "", "\r\n.\r\n", "\n", "x\n", []byte(nil))
	f.Fuzz(func(t *testing.T, helo, protocol, tls, host, from, to, text string, ip []byte) {
		addr, _ := netip.AddrFromSlice(ip)
		e, buf := receivedIn(text, func(e *envelope.Envelope) {
			e.Helo, e.Protocol, e.TLS, e.Host, e.From = helo, protocol, tls, host, from
			e.To[0].Address = to
			e.Remote = netip.AddrPortFrom(addr, 25)
		})
		blob := e.Blob(0)
		if len(blob) > len(buf) || &blob[0] != &buf[len(buf)-len(blob)] {
			t.Fatal("HeadRoom is too small: Blob has copied the text")
		}
		if len(blob) != e.BlobSize(0) || !bytes.Equal(e.AppendBlob(nil, 0), blob) {
			t.Fatalf("Blob, AppendBlob and BlobSize differ: %q, %q, %d bytes", blob, e.AppendBlob(nil, 0), e.BlobSize(0))
		}
		head, ok := bytes.CutSuffix(blob, []byte(text))
		if !ok {
			t.Fatalf("blob does not end with the text: %q", blob)
		}
		head = bytes.TrimSuffix(head, []byte("\r\n\r\n"))
		head = bytes.TrimSuffix(head, []byte("\r\n"))
		lines := strings.Split(string(head), "\r\n")
		fields := 0
		for i, line := range lines {
			if strings.ContainsAny(line, "\r\n\x00") || strings.TrimSpace(line) == "" {
				t.Errorf("invalid line %q", line)
			}
			if i > 0 && lines[i][0] != '\t' || i == 0 {
				fields++
			}
		}
		if fields != 3 {
			t.Errorf("%d fields, want 3: %q", fields, head)
		}
		m, err := mail.ReadMessage(bytes.NewReader(append(head, "\r\n\r\n"...)))
		if err != nil {
			t.Fatalf("parsing %q: %v", head, err)
		}
		if len(m.Header) != 3 {
			t.Fatalf("%d different fields, want 3: %q", len(m.Header), head)
		}
		if len(from)+len(to) < 500 && m.Header.Get("Received") == "" {
			t.Errorf("no Received field in %q", head)
		}
	})
}
