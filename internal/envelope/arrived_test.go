package envelope_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
)

// TestArrived: the date of the added Received field is read again, and no text of a client
// is taken for it.
func TestArrived(t *testing.T) {
	for name, change := range map[string]func(*envelope.Envelope){
		"plain":       nil,
		"null sender": func(e *envelope.Envelope) { e.From = "" },
		"semicolons":  func(e *envelope.Envelope) { e.From, e.To[0].Address = `"a;b"@example.org`, `";>; Sat"@example.com` },
		"long names": func(e *envelope.Envelope) {
			e.Helo, e.From = strings.Repeat("h", 255), strings.Repeat("é", 120)+"@example.org"
		},
		"TLS, IPv6":      func(e *envelope.Envelope) { e.TLS, e.Remote = "TLSv1.3 X", netip.MustParseAddrPort("[2001:db8::25]:1") },
		"unknown client": func(e *envelope.Envelope) { e.Remote = netip.AddrPort{} },
	} {
		for _, text := range []string{"Subject: x\r\n\r\nbody", "", "\r\n", "\t; Sat, 07 Mar 2020 01:02:03 +0000\r\n\r\n", "no header"} {
			e := received(text, change)
			arrived, ok := envelope.Arrived(e.Blob(0))
			if !ok || !arrived.Equal(e.Date) {
				t.Errorf("%s, text %q: arrived %v, %v, want %v", name, text, arrived, ok, e.Date)
			}
		}
	}
}

func FuzzArrived(f *testing.F) {
	e := received("Subject: x\r\n\r\n", nil)
	f.Add(string(e.Blob(0)), int64(1700000000))
	f.Add("Return-Path: <>\r\nDelivered-To: b@example.com\r\nReceived: x\r\n\ty\r\n", int64(0))
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		envelope.Arrived([]byte(text)) // does not panic
		e := received(text, nil)
		e.Date = time.Unix(unix&(1<<37-1), 0).In(time.FixedZone("", int(unix%(14*60))*60))
		if arrived, ok := envelope.Arrived(e.Blob(0)); !ok || !arrived.Equal(e.Date) {
			t.Errorf("arrived %v, %v, want %v", arrived, ok, e.Date)
		}
	})
}
