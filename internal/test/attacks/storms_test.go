package attacks

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/test/client"
)

// storms are attacks by what is said, and how often.
func storms() []attack {
	return []attack{
		{name: "500,000 NOOP", run: storm("NOOP\r\n", 500_000)},
		{name: "500,000 RSET", run: storm("RSET\r\n", 500_000)},
		{name: "500,000 EHLO", run: storm("EHLO attacker.example\r\n", 500_000)},
		{name: "100,000 RCPT", run: recipients("RCPT TO:<user%d@example.com>\r\n")},
		{name: "100,000 RCPT elsewhere", run: recipients("RCPT TO:<user%d@elsewhere.example>\r\n")},
		{name: "unknown verbs", run: storm("GARBAGE\r\n", 100_000)},
		{name: "a line of 100 MB as command", run: endlessLine("")},
		{name: "a line of 100 MB as text", run: endlessLine("DATA\r\n"), more: memory + leastMemory},
		{name: "BDAT 0, 200,000 times", run: chunks("BDAT 0\r\n", 200_000), more: memory + leastMemory},
		{name: "BDAT 1, 200,000 times", run: chunks("BDAT 1\r\nx", 200_000), more: memory + leastMemory},
		{name: "BDAT of what never comes", run: hugeChunk, more: memory + leastMemory},
		{name: "BDAT beyond all sizes", run: chunks("BDAT 100000\r\n"+strings.Repeat("x", 100_000), 1000), more: memory + leastMemory},
		{name: "20,000 mails in one breath", run: pipelined, more: memory + 2*leastMemory},
		{name: "texts that never end, in all of the memory", run: endlessTexts, more: memory + 2*leastMemory},
		{name: "smuggled mails", run: smuggle},
	}
}

// pour writes a piece again and again, and reads all replies meanwhile; it
// returns how many there were, and the last.
func pour(c *client.Client, piece string, times int) (replies int, last string) {
	written := make(chan struct{})
	go func() {
		defer close(written)
		block := []byte(strings.Repeat(piece, max(1, min(times, 32<<10/len(piece)))))
		for n := times * len(piece); n > 0; n -= len(block) {
			if _, err := c.Conn.Write(block[:min(n, len(block))]); err != nil {
				return
			}
		}
		c.Conn.Write([]byte("QUIT\r\n"))
	}()
	r := bufio.NewReader(c.Conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			c.Close()
			<-written
			return replies, last
		}
		if len(line) > 3 && line[3] == ' ' {
			replies++
			last = line
		}
	}
}

func storm(piece string, times int) func(*testing.T, *arena) {
	return func(t *testing.T, a *arena) {
		var all sync.WaitGroup
		for range 4 {
			c := a.enter(t)
			all.Go(func() {
				_, last := pour(c, piece, times/4)
				if !strings.HasPrefix(last, "221 ") && !strings.HasPrefix(last, "421 ") {
					t.Errorf("the last reply is %q", last)
				}
			})
		}
		all.Wait()
	}
}

func recipients(form string) func(*testing.T, *arena) {
	return func(t *testing.T, a *arena) {
		c := a.enter(t)
		if _, err := c.Expect(250, "MAIL FROM:<many@example.org>"); err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for i := range 100_000 {
			fmt.Fprintf(&all, form, i)
		}
		replies, last := pour(c, all.String(), 1)
		t.Logf("%d replies, the last is %q", replies, last)
		if !strings.HasPrefix(last, "221 ") && !strings.HasPrefix(last, "421 ") {
			t.Errorf("the last reply is %q", last)
		}
	}
}

// endlessLine sends a line without an end, as a command, or as text.
func endlessLine(before string) func(*testing.T, *arena) {
	return func(t *testing.T, a *arena) {
		c := a.enter(t)
		if before != "" {
			for _, command := range []string{"MAIL FROM:<line@example.org>", "RCPT TO:<line@example.com>", "DATA"} {
				if _, err := c.Cmd("%s", command); err != nil {
					t.Fatal(err)
				}
			}
		}
		_, last := pour(c, strings.Repeat("A", 1<<20), 100)
		if strings.HasPrefix(last, "250") {
			t.Errorf("the last reply is %q", last)
		}
	}
}

func (a *arena) envelope(t *testing.T) *client.Client {
	t.Helper()
	c := a.enter(t)
	for _, command := range []string{"MAIL FROM:<attacker@example.org>", "RCPT TO:<x@example.com>"} {
		if _, err := c.Expect(250, "%s", command); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func chunks(piece string, times int) func(*testing.T, *arena) {
	return func(t *testing.T, a *arena) {
		_, last := pour(a.envelope(t), piece, times)
		if !strings.HasPrefix(last, "221 ") && !strings.HasPrefix(last, "421 ") {
			t.Errorf("the last reply is %q", last)
		}
	}
}

func hugeChunk(t *testing.T, a *arena) {
	for _, size := range []string{"4000000", "4294967296", "9223372036854775807", "99999999999999999999"} {
		c := a.envelope(t)
		c.Conn.Write([]byte("BDAT " + size + "\r\nbeginning"))
		if said := ended(t, c.Conn, 4*timeout*time.Second); strings.Contains(said, "queued") {
			t.Errorf("BDAT %s: %q", size, said)
		}
	}
}

// pipelined sends whole mails without waiting for a reply.
func pipelined(t *testing.T, a *arena) {
	mail := "MAIL FROM:<breath@example.org>\r\nRCPT TO:<x@example.com>\r\nDATA\r\nSubject: x\r\n\r\ntext\r\n.\r\n"
	var all sync.WaitGroup
	for range 4 {
		c := a.enter(t)
		all.Go(func() {
			replies, last := pour(c, mail, 5000)
			if replies != 4*5000+1 || !strings.HasPrefix(last, "221 ") {
				t.Errorf("%d replies, the last is %q", replies, last)
			}
		})
	}
	all.Wait()
}

// endlessTexts fills the memory that all messages share, and holds it.
func endlessTexts(t *testing.T, a *arena) {
	line := bytes.Repeat([]byte("x"), 998)
	line = append(line, "\r\n"...)
	var all sync.WaitGroup
	for range maxPerIP {
		c := a.envelope(t)
		if _, err := c.Cmd("DATA"); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			for range maxSize/len(line) - 100 {
				if _, err := c.Conn.Write(line); err != nil {
					break
				}
			}
			ended(t, c.Conn, 5*timeout*time.Second)
		})
	}
	all.Wait()
}

// smuggle hides a second mail behind what somebody may take for the end of the
// first: every end that has been published, and those that are like it.
func smuggle(t *testing.T, a *arena) {
	for _, end := range []string{
		"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\n.\r", "\r.\n", "\n\n.\n", "\r\r.\r\r",
		"\r\n.\r\r\n", "\r\r\n.\r\n\x00", "\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\n.\x00\n", "\r\x00\n.\r\n", "\r\n .\r\n", "\r\n. \r\n",
		"\r\n.\r\x00\n", "\n.\r\n.\n", "\xc2\x85.\xc2\x85", "\xe2\x80\xa8.\xe2\x80\xa8", "\x0b.\x0b", "\x0c.\x0c",
	} {
		c := a.envelope(t)
		if _, err := c.Expect(354, "DATA"); err != nil {
			t.Fatal(err)
		}
		text := "Subject: first\r\n\r\ntext" + end +
			"MAIL FROM:<smuggled@example.org>\r\nRCPT TO:<smuggled@example.com>\r\nDATA\r\nSubject: smuggled\r\n\r\ntext\r\n.\r\nQUIT\r\n"
		c.Conn.Write([]byte(text))
		if said := ended(t, c.Conn, 2*timeout*time.Second); strings.Count(said, "queued as") != 1 {
			t.Errorf("%q: %q", end, said)
		}
	}
	rows := a.rows(t, "to", "smuggled@example.com")
	if len(rows) != 0 {
		t.Errorf("%d mails were smuggled in", len(rows))
	}
}
