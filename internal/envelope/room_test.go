package envelope_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"goguerrillad/internal/envelope"
)

// TestRecipients tests that the blobs of all recipients use the same buffer, one
// after the other.
func TestRecipients(t *testing.T) {
	const text = "Subject: x\r\n\r\ntext\r\n"
	e, buf := receivedIn(text, func(e *envelope.Envelope) {
		e.To = append(e.To, envelope.Recipient{Address: strings.Repeat("x", 64) + "@example.com", Hash: hash2},
			envelope.Recipient{Address: "c@example.com", Hash: hash})
	})
	for _, i := range []int{0, 1, 2, 1, 0} {
		blob := e.Blob(i)
		if !bytes.Contains(blob, []byte("for <"+e.To[i].Address+">")) || !bytes.Contains(blob, []byte("id "+e.To[i].Hash)) {
			t.Errorf("recipient %d: blob lacks the address or the hash: %q", i, blob)
		}
		if !bytes.HasPrefix(blob, []byte("Return-Path: ")) || !bytes.HasSuffix(blob, []byte("\r\n"+text)) {
			t.Errorf("recipient %d: blob is not the fields and the text: %q", i, blob)
		}
		if &blob[len(blob)-1] != &buf[len(buf)-1] {
			t.Errorf("recipient %d: the text was copied", i)
		}
		if string(e.Message()) != text {
			t.Errorf("recipient %d: message has changed to %q", i, e.Message())
		}
	}
}

// TestTooLittleRoom tests that Blob copies the text if the room is smaller than
// the fields, and that the result is the same.
func TestTooLittleRoom(t *testing.T) {
	const text = "Subject: x\r\n\r\ntext\r\n"
	whole := received(text, nil)
	for room := range whole.HeadRoom() {
		e := received(text, nil)
		buf := append(make([]byte, room), text...)
		e.SetMessage(buf, room)
		got := e.Blob(0)
		if !bytes.Equal(got, whole.Blob(0)) || string(e.Message()) != text {
			t.Fatalf("room %d: blob %q, message %q", room, got, e.Message())
		}
		if copied := &got[len(got)-1] != &buf[len(buf)-1]; copied != (room < len(got)-len(text)) {
			t.Errorf("room %d for %d bytes: text copied is %v", room, len(got)-len(text), copied)
		}
	}
}

func TestAllocations(t *testing.T) {
	e := received("Subject: x\r\n\r\ntext\r\n", func(e *envelope.Envelope) {
		e.Remote = netip.MustParseAddrPort("[2001:db8::25]:40000")
		e.TLS = "TLSv1.3 TLS_AES_128_GCM_SHA256"
		e.From = strings.Repeat("é", 120) + "@example.org"
	})
	dst := make([]byte, 0, e.BlobSize(0))
	for name, f := range map[string]func(){
		"HeadRoom":   func() { e.HeadRoom() },
		"Blob":       func() { e.Blob(0) },
		"BlobSize":   func() { e.BlobSize(0) },
		"AppendBlob": func() { e.AppendBlob(dst, 0) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

func BenchmarkBlob(b *testing.B) {
	e := received("Subject: x\r\n\r\ntext\r\n", nil)
	b.ReportAllocs()
	for b.Loop() {
		e.Blob(0)
	}
}
