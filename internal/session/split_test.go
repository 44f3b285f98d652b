package session_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"goguerrillad/internal/test/dialogue"
)

// Input with all kinds of bytes that can be at the boundary of a read.
const (
	dataInput = "HELO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n" +
		"Subject: x\r\n\r\n..a\r\n.b\n.\r\n.\n\r.\r\r\n.\rc\r\n\r\n.\r\n" +
		"NOOP\r\nMAIL FROM:<c@example.org>\r\nRCPT TO:<d@example.com>\r\nDATA\r\n.\r\nBLAH\r\nNOOP\nNOOP\r\nQUIT\r\n"
	dataText = "Subject: x\r\n\r\n.a\r\nb\n.\r\n\n\r.\r\r\n\rc\r\n\r\n"

	chunkInput = "EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n" +
		"BDAT 13\r\nSubject: x\r\n\rBDAT 5\r\n\n.\r\n.BDAT 0\r\nBDAT 3 LAST\r\n\r\n." +
		"BDAT 6 LAST\r\nQUIT\r\nMAIL FROM:<c@example.org>\r\nRCPT TO:<d@example.com>\r\nBDAT 0 LAST\r\nQUIT\r\n"
	chunkText = "Subject: x\r\n\r\n.\r\n.\r\n."

	bigInput = "HELO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n" +
		"0123456789012345678\r\n.\r\n.\r\nNOOP\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n" +
		"BDAT 21\r\n0123456789012345678\r\nBDAT 2\r\n..BDAT 2 LAST\r\n\r\nNOOP\r\nQUIT\r\n"
)

// result is the result of an input.
type result struct {
	replies string
	stored  []dialogue.Message
}

func run(t *testing.T, text string, maxSize int64, prepare func(*client)) result {
	t.Helper()
	settings := testSettings(t)
	settings.MaxSize = maxSize
	c := newClient(t, settings)
	prepare(c)
	replies := c.sendRaw(text)
	c.end()
	return result{replies, c.stored}
}

// TestEverySplit splits input at each position, and into single bytes: replies and
// messages are always equal.
func TestEverySplit(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		maxSize    int64
		codes      string
		messages   []string
	}{
		{"data", dataInput, 1000, "250 250 250 550 354 250 250 250 250 354 250 500 500 500 221", []string{dataText, ""}},
		{"chunks", chunkInput, 1000, "250 250 250 250 250 250 250 503 250 250 250 221", []string{chunkText, ""}},
		{"too big", bigInput, 20, "250 250 250 354 552 500 250 250 250 552 503 503 250 221", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			whole := run(t, tt.text, tt.maxSize, func(*client) {})
			if got := codesOf(whole.replies); got != tt.codes {
				t.Fatalf("codes %q, want %q", got, tt.codes)
			}
			if len(whole.stored) != len(tt.messages) {
				t.Fatalf("%d messages stored, want %d", len(whole.stored), len(tt.messages))
			}
			for i, want := range tt.messages {
				if got := string(whole.stored[i].Text); got != want {
					t.Fatalf("message %d: %q, want %q", i, got, want)
				}
			}
			check := func(split string, got result) {
				t.Helper()
				if got.replies != whole.replies {
					t.Errorf("%s: replies\n%s\nwant\n%s", split, got.replies, whole.replies)
				}
				if fmt.Sprint(got.stored) != fmt.Sprint(whole.stored) {
					t.Errorf("%s: stored %q, want %q", split, got.stored, whole.stored)
				}
			}
			for _, feedOnly := range []bool{false, true} {
				check("single bytes", run(t, tt.text, tt.maxSize, func(c *client) {
					c.feedOnly, c.sizes = feedOnly, func() int { return 1 }
				}))
				for at := 1; at < len(tt.text); at++ {
					check(fmt.Sprintf("split at %d", at), run(t, tt.text, tt.maxSize, func(c *client) {
						left := at
						c.feedOnly = feedOnly
						c.sizes = func() int {
							if left > 0 { // Space may have accepted fewer bytes
								left = len(c.wire) - (len(tt.text) - at)
							}
							if left > 0 {
								return left
							}
							return len(tt.text)
						}
					}))
				}
			}
		})
	}
}

// TestLargeMessage grows the buffer in steps, with reads of random sizes.
func TestLargeMessage(t *testing.T) {
	line := strings.Repeat("0123456789", 7) + "\r\n.."
	text := strings.Repeat(line, 5000)
	want := strings.ReplaceAll(text, "\r\n..", "\r\n.") + "\r\n"
	head := "HELO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n"
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		top := 1 + r.IntN(10000)
		random := func(c *client) { c.sizes = func() int { return 1 + r.IntN(top) } }
		for name, input := range map[string]string{
			"data":  head + "DATA\r\n" + text + "\r\n.\r\nQUIT\r\n",
			"chunk": head + fmt.Sprintf("BDAT %d LAST\r\n", len(want)) + want + "QUIT\r\n",
		} {
			got := run(t, input, 1_000_000, random)
			if len(got.stored) != 1 || !bytes.Equal(got.stored[0].Text, []byte(want)) || !strings.HasSuffix(got.replies, "Bye\r\n") {
				t.Fatalf("%s: %d messages stored, replies %q", name, len(got.stored), got.replies)
			}
		}
	}
}
