package newmail_test

import (
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"goguerrillad/internal/config"
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/newmail"
	"goguerrillad/internal/session"
)

// TestCompression: Append compresses, and Expand returns the message of each form of
// the column mail or an error.
func TestCompression(t *testing.T) {
	var c newmail.Compressor
	for _, message := range []string{"", "x", strings.Repeat("Subject: x\r\n\r\n\x00\xff", 100_000)} {
		for range 2 {
			packed := c.Append([]byte("before"), []byte(message))
			if string(packed[:6]) != "before" || packed[6] != 0x78 {
				t.Fatalf("Append returns %.20x, want \"before\" and zlib", packed)
			}
			got, err := newmail.Expand(newmail.BodyZlib, packed[6:])
			if err != nil || string(got) != message {
				t.Errorf("a message of %d bytes: Expand returns %d bytes, error %v", len(message), len(got), err)
			}
		}
	}
	// Only a row with BodyRedis and an empty mail has its message in Redis.
	if got, err := newmail.Expand(newmail.BodyPlain, nil); err != nil || len(got) != 0 {
		t.Errorf("an empty message: %q, %v", got, err)
	}
	if got, err := newmail.Expand(newmail.BodyRedis, []byte("a")); err != nil || string(got) != "a" {
		t.Errorf("a message in the table and in Redis: %q, %v", got, err)
	}
	if _, err := newmail.Expand(newmail.BodyRedis, nil); !errors.Is(err, newmail.ErrInRedis) {
		t.Errorf("a message in Redis: got %v, want ErrInRedis", err)
	}
	if got, err := newmail.Expand("", []byte("x\x9c")); err != nil || string(got) != "x\x9c" {
		t.Errorf("plain: %q, %v", got, err)
	}
	gzip := "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x04\x00\x43\xbe\xb7\xe8\x01\x00\x00\x00"
	if got, err := newmail.Expand(newmail.BodyZlib, []byte(gzip)); err != nil || string(got) != "a" {
		t.Errorf("gzip: %q, %v", got, err)
	}
	packed := string(c.Append(nil, []byte("Subject: x\r\n")))
	for _, mail := range []string{"", "not zlib", packed[:1], packed[:len(packed)/2], packed[:len(packed)-1], packed[:len(packed)-1] + "?", gzip[:5], gzip[:len(gzip)-1]} {
		if got, err := newmail.Expand(newmail.BodyZlib, []byte(mail)); err == nil {
			t.Errorf("Expand of %q returns %q, want an error", mail, got)
		}
	}
}

// TestExpandHead: the beginning of the column mail is enough for the added fields, whatever
// follows them.
func TestExpandHead(t *testing.T) {
	random := make([]byte, 100_000)
	rand.NewChaCha8([32]byte{}).Read(random)
	fields := strings.Repeat("Received: x; Sat, 07 Mar 2026 01:02:03 +0100\r\n", 100)[:newmail.MaxHead]
	var c newmail.Compressor
	for name, rest := range map[string]string{
		"short": "", "text": strings.Repeat("text\r\n", 50_000), "random": string(random),
		"base64": base64.StdEncoding.EncodeToString(random),
	} {
		packed := c.Append(nil, []byte(fields+rest))
		if got := newmail.ExpandHead(newmail.BodyZlib, packed[:min(len(packed), 2*newmail.MaxHead)]); string(got) != fields {
			t.Errorf("%s: %d bytes, want the %d bytes of the fields", name, len(got), len(fields))
		}
		if got := newmail.ExpandHead(newmail.BodyPlain, []byte(fields+rest)); string(got) != fields {
			t.Errorf("%s, plain: %d bytes, want %d", name, len(got), len(fields))
		}
	}
	if got := newmail.ExpandHead(newmail.BodyGzip, []byte("no gzip")); len(got) > 0 {
		t.Errorf("no gzip: %q", got)
	}
}

// TestMaxBlob: a message of the maximum size with added header fields of the maximum
// length has fewer bytes than MaxBlob. No field is longer than a command line.
func TestMaxBlob(t *testing.T) {
	long := strings.Repeat("x", session.MaxLine)
	e := envelope.Envelope{Helo: long, Protocol: long, TLS: long, Host: long, From: long, To: []envelope.Recipient{{Address: long, Hash: long}}}
	if largest := config.MaxMessage + e.HeadRoom(); largest >= savemail.MaxBlob {
		t.Errorf("the largest message has %d bytes, MaxBlob is %d", largest, savemail.MaxBlob)
	}
}
