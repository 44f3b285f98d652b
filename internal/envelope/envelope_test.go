package envelope_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
)

const (
	hash  = "0123456789abcdef0123456789abcdef"
	hash2 = "fedcba9876543210fedcba9876543210"
)

// received returns an envelope with text as its message and exactly HeadRoom bytes
// of room. HeadRoom is called before Date and the message are set.
func received(text string, change func(*envelope.Envelope)) *envelope.Envelope {
	e, _ := receivedIn(text, change)
	return e
}

// receivedIn returns the same as received, and the buffer of the message.
func receivedIn(text string, change func(*envelope.Envelope)) (e *envelope.Envelope, buf []byte) {
	e = &envelope.Envelope{
		Remote:   netip.MustParseAddrPort("192.0.2.1:40000"),
		Helo:     "mail.example.org",
		Protocol: "ESMTP",
		Host:     "mx.example.com",
		From:     "alice@example.org",
		To:       []envelope.Recipient{{Address: "bob@example.com", Hash: hash}},
	}
	if change != nil {
		change(e)
	}
	room := e.HeadRoom()
	e.Date = time.Date(2026, time.March, 7, 1, 2, 3, 0, time.FixedZone("", 3600))
	buf = append(make([]byte, room), text...)
	e.SetMessage(buf, room)
	return e, buf
}

func TestBlob(t *testing.T) {
	longAddress := strings.Repeat("l", 64) + "@" + strings.Repeat(strings.Repeat("d", 63)+".", 2) + strings.Repeat("d", 63)
	tests := []struct {
		name   string
		change func(*envelope.Envelope)
		want   []string // the lines
	}{
		{"without TLS", nil, []string{
			"Return-Path: <alice@example.org>",
			"Delivered-To: bob@example.com",
			"Received: from mail.example.org ([192.0.2.1]) by mx.example.com with ESMTP",
			"\tid 0123456789abcdef0123456789abcdef for <bob@example.com>;",
			"\tSat, 07 Mar 2026 01:02:03 +0100",
		}},
		{"inside TLS, over IPv6, null sender", func(e *envelope.Envelope) {
			e.Remote = netip.MustParseAddrPort("[2001:db8::25]:40000")
			e.Protocol, e.TLS, e.From = "ESMTPS", "TLSv1.3 TLS_AES_128_GCM_SHA256", ""
		}, []string{
			"Return-Path: <>",
			"Delivered-To: bob@example.com",
			"Received: from mail.example.org ([IPv6:2001:db8::25]) by mx.example.com",
			"\twith ESMTPS (TLSv1.3 TLS_AES_128_GCM_SHA256)",
			"\tid 0123456789abcdef0123456789abcdef for <bob@example.com>;",
			"\tSat, 07 Mar 2026 01:02:03 +0100",
		}},
		{"long addresses stay whole", func(e *envelope.Envelope) {
			e.From, e.To[0].Address = longAddress, longAddress
		}, []string{
			"Return-Path: <" + longAddress + ">",
			"Delivered-To: " + longAddress,
			"Received: from mail.example.org ([192.0.2.1]) by mx.example.com with ESMTP",
			"\tid 0123456789abcdef0123456789abcdef",
			"\tfor <" + longAddress + ">;",
			"\tSat, 07 Mar 2026 01:02:03 +0100",
		}},
		{"UTF-8 and a quoted local part", func(e *envelope.Envelope) {
			e.Helo, e.Protocol = "bücher.example", "UTF8SMTP"
			e.From, e.To[0].Address = "δοκιμή@παράδειγμα.example", `"b o>b"@example.com`
		}, []string{
			"Return-Path: <δοκιμή@παράδειγμα.example>",
			`Delivered-To: "b o>b"@example.com`,
			"Received: from bücher.example ([192.0.2.1]) by mx.example.com with UTF8SMTP",
			`	id 0123456789abcdef0123456789abcdef for <"b o>b"@example.com>;`,
			"\tSat, 07 Mar 2026 01:02:03 +0100",
		}},
		{"control characters and parentheses", func(e *envelope.Envelope) {
			e.From, e.TLS, e.Host = "a\r\nb@example.org", `TLS)(\`, "mx\x00"
		}, []string{
			"Return-Path: <a??b@example.org>",
			"Delivered-To: bob@example.com",
			"Received: from mail.example.org ([192.0.2.1]) by mx? with ESMTP (TLS???)",
			"\tid 0123456789abcdef0123456789abcdef for <bob@example.com>;",
			"\tSat, 07 Mar 2026 01:02:03 +0100",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const text = "Subject: hello\r\n\r\ntext\r\n"
			want := strings.Join(tt.want, "\r\n") + "\r\n" + text
			e := received(text, tt.change)
			if got := string(e.Blob(0)); got != want {
				t.Errorf("Blob:\ngot  %q\nwant %q", got, want)
			}
			if got := string(e.AppendBlob([]byte("before"), 0)); got != "before"+want {
				t.Errorf("AppendBlob:\ngot  %q\nwant %q", got, "before"+want)
			}
			if got := e.BlobSize(0); got != len(want) {
				t.Errorf("BlobSize is %d, want %d", got, len(want))
			}
			if got := e.Size(); got != len(text) {
				t.Errorf("Size is %d, want %d", got, len(text))
			}
		})
	}
}

// TestFold tests that lines of 77 and 78 bytes stay whole, and that a line of 79
// bytes is folded before its last word.
func TestFold(t *testing.T) {
	const date = "Sat, 07 Mar 2026 01:02:03 +0100\r\n\r\n"
	for n, fold := range []string{" ", " ", "\r\n\t"} {
		last := []string{"\r\n\t", "\r\n\t", " "}[n] // the fold after the long line
		helo, to := strings.Repeat("h", 19+n), strings.Repeat("t", 1+n)
		for _, tt := range []struct{ helo, to, want string }{
			{helo, "bob@example.com", "Received: from " + helo + " ([192.0.2.1]) by mx.example.com" + fold + "with ESMTP" + last +
				"id " + hash + " for <bob@example.com>;\r\n\t" + date},
			{"mail.example.org", to, "Received: from mail.example.org ([192.0.2.1]) by mx.example.com with ESMTP\r\n\t" +
				"id " + hash + " for <" + to + ">;" + fold + date},
		} {
			e := received("\r\n", func(e *envelope.Envelope) { e.Helo, e.To[0].Address = tt.helo, tt.to })
			_, got, _ := strings.Cut(string(e.Blob(0)), "Delivered-To: "+tt.to+"\r\n")
			if got != tt.want {
				t.Errorf("line of %d bytes: got %q, want %q", 77+n, got, tt.want)
			}
		}
	}
}

// TestHelo tests that the header contains the HELO name without the characters
// that are not allowed there.
func TestHelo(t *testing.T) {
	tests := []struct{ helo, protocol, want string }{
		{"mail.example.org", "SMTP", "mail.example.org"},
		{"my_host-1", "SMTP", "my_host-1"},
		{"abcxyzABCXYZ0129", "SMTP", "abcxyzABCXYZ0129"},                       // both ends of each range
		{"`a{@A[/0:", "SMTP", "?a??A??0?"},                                     // and the characters next to them
		{"e\u0301\u0661\u0939\u093f", "UTF8SMTP", "e\u0301\u0661\u0939\u093f"}, // marks and other digits
		{"e\u0301", "ESMTP", "e?"},
		{"[192.0.2.7]", "SMTP", "[192.0.2.7]"},
		{"[IPv6:2001:db8::7]", "SMTP", "[IPv6:2001:db8::7]"},
		{"", "SMTP", "[192.0.2.1]"},
		{"[]", "SMTP", "??"},
		{"[a]b]", "SMTP", "?a?b?"},
		{"[192.0.2.7", "SMTP", "?192.0.2.7"},
		{"[(a]", "SMTP", "??a?"},
		{"[a(]", "SMTP", "?a??"},
		{"a b", "SMTP", "a?b"},
		{"x) by evil (", "SMTP", "x??by?evil??"},
		{`a\b"c;d<e>@f:25`, "SMTP", "a?b?c?d?e??f?25"},
		{"\t\x1b\x7f", "SMTP", "???"},
		{"a\r\nX: y", "SMTP", "a??X??y"},
		{".", "SMTP", "?"},
		{".a..b.", "SMTP", "?a.?b?"},
		{"bücher.example", "ESMTP", "b?cher.example"},
		{"bücher.example", "UTF8SMTPS", "bücher.example"},
		{"b\xfccher", "UTF8SMTP", "b?cher"},
		{"a\u202eb\u0085c\u00a0d", "UTF8SMTP", "a?b?c?d"},
		{strings.Repeat("a", 255), "SMTP", strings.Repeat("a", 255)},
		{strings.Repeat("a", 256), "SMTP", strings.Repeat("a", 255)},
		{"[1]", "SMTP", "[1]"},
		{"[" + strings.Repeat("1", 253) + "]", "SMTP", "[" + strings.Repeat("1", 253) + "]"},
		{"[" + strings.Repeat("1", 254) + "]", "SMTP", "?" + strings.Repeat("1", 254)},
		{strings.Repeat("é", 300), "UTF8SMTP", strings.Repeat("é", 127) + "?"},
	}
	for _, tt := range tests {
		e := received("", func(e *envelope.Envelope) { e.Helo, e.Protocol = tt.helo, tt.protocol })
		_, got, _ := strings.Cut(string(e.Blob(0)), "Received: from ")
		got, _, _ = strings.Cut(got, "(")
		if got = strings.TrimRight(got, " \r\n\t"); got != tt.want {
			t.Errorf("HELO %q with %s: got %q, want %q", tt.helo, tt.protocol, got, tt.want)
		}
	}
}

func TestRemoteAddress(t *testing.T) {
	tests := []struct {
		addr netip.Addr
		want string
	}{
		{netip.MustParseAddr("192.0.2.1"), "([192.0.2.1])"},
		{netip.MustParseAddr("::ffff:192.0.2.1"), "([192.0.2.1])"},
		{netip.MustParseAddr("fe80::1%eth0"), "([IPv6:fe80::1])"},
		{netip.MustParseAddr("2001:db8:1111:2222:3333:4444:5555:6666"), "([IPv6:2001:db8:1111:2222:3333:4444:5555:6666])"},
		{netip.Addr{}, "(unknown)"},
	}
	for _, tt := range tests {
		e := received("", func(e *envelope.Envelope) { e.Remote = netip.AddrPortFrom(tt.addr, 1) })
		if blob := e.Blob(0); !bytes.Contains(blob, []byte(tt.want)) {
			t.Errorf("%v: blob lacks %s: %q", tt.addr, tt.want, blob)
		}
	}
}

// TestEmptyLine tests that no message can be read as a continuation of the added
// fields.
func TestEmptyLine(t *testing.T) {
	tests := []struct {
		text string
		want bool
	}{
		{"Subject: x\r\n", false},
		{"Subject:\r\n", false},
		{"Subject \t: x\r\n", false},
		{"X-Ünknown: x\r\n", true},
		{"!#$%&'*+-/=?^_`{|}~: x", false},
		{"\r\ntext", false},
		{"\ntext", false},
		{"", true},
		{" folded: x\r\n", true},
		{"\tfolded: x\r\n", true},
		{"\r\r\n", true},
		{"\rSubject: x", true},
		{": x\r\n", true},
		{" : x\r\n", true},
		{"just text\r\n", true},
		{"From alice Sat Mar  7 01:02:03 2026\r\nSubject: x\r\n", true},
		{"a\r\nSubject: x\r\n", true},
		{"a\nSubject: x\r\n", true},
		{"a\x00b: x\r\n", true},
		{".\r\n", true},
		{"word", true},
		{"\ufeffSubject: x\r\n", false},
		{"\ufeffSubject : x\r\n", false},
		{"\ufeff\r\ntext", false},
		{"\ufeff\ntext", false},
		{"\ufeff", true},
		{"\ufeffjust text\r\n", true},
		{"\ufeff folded: x\r\n", true},
		{"\ufeff\ufeffSubject: x\r\n", true},
		{" \ufeffSubject: x\r\n", true},
		{"\xef\xbbSubject: x\r\n", true},
	}
	for _, tt := range tests {
		e := received(tt.text, nil)
		blob := e.Blob(0)
		if !bytes.HasSuffix(blob, []byte("+0100\r\n"+tt.text)) && !bytes.HasSuffix(blob, []byte("+0100\r\n\r\n"+tt.text)) {
			t.Errorf("%q: blob does not end with the fields and the text: %q", tt.text, blob)
		}
		got := bytes.HasSuffix(blob, []byte("+0100\r\n\r\n"+tt.text))
		if got != tt.want {
			t.Errorf("%q: empty line is %v, want %v", tt.text, got, tt.want)
		}
		if got := e.BlobSize(0); got != len(blob) {
			t.Errorf("%q: BlobSize is %d, want %d", tt.text, got, len(blob))
		}
	}
}
