package envelope_test

import (
	"bytes"
	"net/mail"
	"net/netip"
	"strings"
	"testing"

	"goguerrillad/internal/envelope"
)

// FuzzBlob: whatever a client says, the head is a header of three fields in
// lines of CR LF, fits the room that HeadRoom asked for, and leaves the text as
// it was.
func FuzzBlob(f *testing.F) {
	f.Add("mail.example.org", "ESMTPS", "TLSv1.3 X", "mx", "a@b.example", "c@d.example", "Subject: x\r\n\r\n", []byte{192, 0, 2, 1})
	f.Add("", "UTF8SMTP", "", "mx", "", "\"q q\"@é.example", "", []byte{})
	f.Add("\x00)(\xff\\", "SMTP", "(", strings.Repeat("h", 300), strings.Repeat("f", 256), strings.Repeat("t", 256), " x", []byte(strings.Repeat("\xfe", 16)))
	long := strings.Repeat("x", 255)
	f.Add(long, long, long, long, long, long, "", []byte(strings.Repeat("\xfe", 16))) // every word is on a line of its own
	f.Add("a..b.", "", "", "", "\r\n.\r\n", "\n", "x\n", []byte(nil))
	f.Fuzz(func(t *testing.T, helo, protocol, tls, host, from, to, text string, ip []byte) {
		addr, _ := netip.AddrFromSlice(ip)
		e := received(text, func(e *envelope.Envelope) {
			e.Helo, e.Protocol, e.TLS, e.Host, e.From = helo, protocol, tls, host, from
			e.To[0].Address = to
			e.Remote = netip.AddrPortFrom(addr, 25)
		})
		room := e.HeadRoom()
		blob := e.Blob(0)
		if &blob[0] != &e.Buffer()[room+len(text)-len(blob)] {
			t.Fatal("HeadRoom was too small")
		}
		if len(blob) != e.BlobSize(0) || !bytes.Equal(e.AppendBlob(nil, 0), blob) {
			t.Fatal("Blob, AppendBlob and BlobSize differ")
		}
		head, ok := bytes.CutSuffix(blob, []byte(text))
		if !ok {
			t.Fatalf("the text is not whole: %q", blob)
		}
		head = bytes.TrimSuffix(head, []byte("\r\n\r\n"))
		head = bytes.TrimSuffix(head, []byte("\r\n"))
		lines := strings.Split(string(head), "\r\n")
		fields := 0
		for i, line := range lines {
			if strings.ContainsAny(line, "\r\n\x00") || strings.TrimSpace(line) == "" {
				t.Errorf("line %q", line)
			}
			if i > 0 && lines[i][0] != '\t' || i == 0 {
				fields++
			}
		}
		if fields != 3 {
			t.Errorf("%d fields: %q", fields, head)
		}
		m, err := mail.ReadMessage(bytes.NewReader(append(head, "\r\n\r\n"...)))
		if err != nil || len(m.Header) != 3 {
			t.Fatalf("%q: %v", head, err)
		}
		if len(from)+len(to) < 500 && m.Header.Get("Received") == "" {
			t.Errorf("no Received in %q", head)
		}
	})
}
