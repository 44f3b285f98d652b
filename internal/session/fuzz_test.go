package session_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/session"
	"goguerrillad/internal/test/dialogue"
)

var replyLine = regexp.MustCompile(`^[2-5][0-9][0-9][ -][ -~]*\r\n$`)

// FuzzSession sends any text, whole and split at random, and with memory denied at
// random.
func FuzzSession(f *testing.F) {
	long := strings.Repeat("x", 5000)
	for i, text := range []string{
		dataInput, chunkInput, bigInput,
		"EHLO x\r\nSTARTTLS\r\nMAIL FROM:<a@example.org>\r\n",
		"NOOP " + long + "\r\nNOOP\r\n" + long + "\nNOOP\r\n",
		"HELO x\r\nMAIL FROM:<a@example.org> SMTPUTF8 BODY=BINARYMIME SIZE=100\r\nRCPT TO:<ü@example.com>\r\nRCPT TO:<postmaster>\r\nDATA\r\nBDAT 5\r\nabcdeBDAT 0 LAST\r\n",
		"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n" + strings.Repeat(".\r..\r\n..", 200) + "\r\n.\r\nQUIT\r\n",
		"BDAT 9223372036854775807 LAST\r\n" + long,
		"HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<later@example.com>\r\nRCPT TO:<c@example.com>\r\nRCPT TO:<known@example.com>\r\nDATA\r\n.\r\n",
		"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00", "NOOP\n\r\nNOOP\r\r\n\x00\r\n", strings.Repeat("\r\n", 25),
		"EHLO x\r\nXCLIENT ADDR=198.51.100.9 LOGIN=a+2Bb\r\nHELO y\r\nMAIL FROM:<a@b>\r\nXCLIENT HELO=z\r\nRCPT TO:<postmaster>\r\nDATA\r\n.\r\n",
		"HELO x\r\nMAIL FROM:<a@b>\r\nBDAT 3\r\nabcRCPT TO:<b@c>\r\nBDAT 3\r\nabcDATA\r\nVRFY\r\nEXPN\r\nHELP\r\nRSET\r\nXCLIENT a\r\n",
	} {
		f.Add([]byte(text), uint64(i), i%2 == 0, uint8(i))
	}
	f.Fuzz(func(t *testing.T, text []byte, seed uint64, feedOnly bool, denied uint8) {
		run := func(prepare func(*client)) string {
			settings := testSettings(t)
			settings.MaxSize = 600
			if seed%2 == 0 {
				settings.Trusted = trustedPeer{netip.MustParseAddr("192.0.2.7")}
			}
			if seed%3 == 0 {
				settings.Recipients = dialogue.Recipients{"b@example.com"}
			}
			c := newClient(t, settings)
			c.store = func(e *envelope.Envelope) error {
				if e.Size() > 600 || len(e.To) == 0 {
					t.Errorf("stored %d bytes for %d recipients", e.Size(), len(e.To))
				}
				for i, to := range e.To {
					if _, domain, _ := strings.Cut(to.Address, "@"); !strings.HasPrefix(to.Address, `"`) && !settings.Hosts.Match(domain) {
						t.Errorf("stored for %q", to.Address)
					}
					if settings.Recipients != nil && to.Address != "b@example.com" {
						t.Errorf("stored for %q, which does not exist", to.Address)
					}
					e.Blob(i)
				}
				return nil
			}
			prepare(c)
			replies := c.sendRaw(string(text))
			for line := range strings.Lines(replies) {
				if !replyLine.MatchString(line) {
					t.Errorf("reply %q", line)
				}
			}
			if c.memory.most > 600+2*session.MaxLine {
				t.Errorf("requested %d bytes", c.memory.most)
			}
			c.end()
			return replies + fmt.Sprintf("%q", c.stored)
		}
		whole := run(func(*client) {})
		split := func(c *client) {
			r := rand.New(rand.NewPCG(seed, seed))
			c.feedOnly, c.sizes = feedOnly, func() int { return 1 + r.IntN(1+r.IntN(100)) }
		}
		if got := run(split); got != whole {
			t.Errorf("split: %s\nwhole: %s", got, whole)
		}
		run(func(c *client) {
			split(c)
			r := rand.New(rand.NewPCG(seed, 1))
			c.memory.deny = func(int, int) bool { return r.IntN(256) < int(denied) }
			c.memoryAvailable = func() bool { return r.IntN(4) > 0 }
		})
	})
}
