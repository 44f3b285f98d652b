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

// storms returns attacks with many or malformed commands and texts.
func storms() []attack {
	return []attack{
		{name: "500,000 NOOP", run: storm("NOOP\r\n", 500_000)},
		{name: "500,000 RSET", run: storm("RSET\r\n", 500_000)},
		{name: "500,000 EHLO", run: storm("EHLO attacker.example\r\n", 500_000)},
		{name: "100,000 RCPT", run: recipients("RCPT TO:<user%d@example.com>\r\n")},
		{name: "100,000 RCPT for another domain", run: recipients("RCPT TO:<user%d@elsewhere.example>\r\n")},
		{name: "unknown verbs", run: storm("GARBAGE\r\n", 100_000)},
		{name: "a line of 100 MB as a command", run: endlessLine(false)},
		{name: "a line of 100 MB as a text", run: endlessLine(true), maxGrowth: memory + baseGrowth},
		{name: "BDAT 0, 200,000 times", run: chunks("BDAT 0\r\n", 200_000), maxGrowth: memory + baseGrowth},
		{name: "BDAT 1, 200,000 times", run: chunks("BDAT 1\r\nx", 200_000), maxGrowth: memory + baseGrowth},
		{name: "BDAT without its bytes", run: incompleteChunk, maxGrowth: memory + baseGrowth},
		{name: "BDAT beyond GSMTP_MAX_SIZE", run: chunks("BDAT 100000\r\n"+strings.Repeat("x", 100_000), 1000), maxGrowth: memory + baseGrowth},
		{name: "20,000 pipelined messages", run: pipelined, maxGrowth: memory + 2*baseGrowth},
		{name: "endless texts that fill GSMTP_MEMORY", run: endlessTexts, maxGrowth: memory + 2*baseGrowth},
		{name: "smuggled messages", run: smuggle},
	}
}

// pipeline writes a piece several times and then QUIT, and reads the replies concurrently.
// It returns the number of replies and the last reply.
func pipeline(c *client.Client, piece string, times int) (replies int, last string) {
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

// expectClose checks that the last reply of a session is 221 or 421.
func expectClose(t *testing.T, last string) {
	t.Helper()
	if !strings.HasPrefix(last, "221 ") && !strings.HasPrefix(last, "421 ") {
		t.Errorf("last reply %q, want 221 or 421", last)
	}
}

// storm sends a piece several times, divided among 4 connections.
func storm(piece string, times int) func(*testing.T, *target) {
	return func(t *testing.T, a *target) {
		var all sync.WaitGroup
		for range 4 {
			c := a.connect(t)
			all.Go(func() {
				_, last := pipeline(c, piece, times/4)
				expectClose(t, last)
			})
		}
		all.Wait()
	}
}

// recipients sends 100,000 RCPT commands with different numbers in a format.
func recipients(format string) func(*testing.T, *target) {
	return func(t *testing.T, a *target) {
		c := a.connect(t)
		if _, err := c.Expect(250, "MAIL FROM:<many@example.org>"); err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for i := range 100_000 {
			fmt.Fprintf(&all, format, i)
		}
		replies, last := pipeline(c, all.String(), 1)
		t.Logf("%d replies, last reply %q", replies, last)
		expectClose(t, last)
	}
}

// endlessLine sends a line of 100 MB, as a command or as a text.
func endlessLine(text bool) func(*testing.T, *target) {
	return func(t *testing.T, a *target) {
		c := a.connect(t)
		if text {
			for _, command := range []string{"MAIL FROM:<line@example.org>", "RCPT TO:<line@example.com>", "DATA"} {
				if _, err := c.Cmd("%s", command); err != nil {
					t.Fatal(err)
				}
			}
		}
		_, last := pipeline(c, strings.Repeat("A", 1<<20), 100)
		if strings.HasPrefix(last, "250") {
			t.Errorf("last reply %q, want a refusal or none", last)
		}
	}
}

// beginTransaction opens a session and sends MAIL and RCPT.
func (a *target) beginTransaction(t *testing.T) *client.Client {
	t.Helper()
	c := a.connect(t)
	for _, command := range []string{"MAIL FROM:<attacker@example.org>", "RCPT TO:<x@example.com>"} {
		if _, err := c.Expect(250, "%s", command); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// chunks sends a piece several times in a transaction.
func chunks(piece string, times int) func(*testing.T, *target) {
	return func(t *testing.T, a *target) {
		_, last := pipeline(a.beginTransaction(t), piece, times)
		expectClose(t, last)
	}
}

// incompleteChunk announces more bytes than it sends.
func incompleteChunk(t *testing.T, a *target) {
	for _, size := range []string{"4000000", "4294967296", "9223372036854775807", "99999999999999999999"} {
		c := a.beginTransaction(t)
		c.Conn.Write([]byte("BDAT " + size + "\r\nbeginning"))
		if received := readToEnd(t, c.Conn, 4*timeout*time.Second); strings.Contains(received, "queued") {
			t.Errorf("BDAT %s: received %q, want a refusal", size, received)
		}
	}
}

// pipelined sends messages without waiting for replies.
func pipelined(t *testing.T, a *target) {
	message := "MAIL FROM:<pipelined@example.org>\r\nRCPT TO:<x@example.com>\r\nDATA\r\nSubject: x\r\n\r\ntext\r\n.\r\n"
	var all sync.WaitGroup
	for range 4 {
		c := a.connect(t)
		all.Go(func() {
			replies, last := pipeline(c, message, 5000)
			if replies != 4*5000+1 || !strings.HasPrefix(last, "221 ") {
				t.Errorf("%d replies, last reply %q, want %d and 221", replies, last, 4*5000+1)
			}
		})
	}
	all.Wait()
}

// endlessTexts fills GSMTP_MEMORY with texts and does not end them.
func endlessTexts(t *testing.T, a *target) {
	line := bytes.Repeat([]byte("x"), 998)
	line = append(line, "\r\n"...)
	var all sync.WaitGroup
	for range maxPerIP {
		c := a.beginTransaction(t)
		if _, err := c.Cmd("DATA"); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			for range maxSize/len(line) - 100 {
				if _, err := c.Conn.Write(line); err != nil {
					break
				}
			}
			readToEnd(t, c.Conn, 5*timeout*time.Second)
		})
	}
	all.Wait()
}

// smuggle sends a second message after a sequence that some servers accept as the end of the
// first message: all published sequences, and similar ones.
func smuggle(t *testing.T, a *target) {
	for _, end := range []string{
		"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\n.\r", "\r.\n", "\n\n.\n", "\r\r.\r\r",
		"\r\n.\r\r\n", "\r\r\n.\r\n\x00", "\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\n.\x00\n", "\r\x00\n.\r\n", "\r\n .\r\n", "\r\n. \r\n",
		"\r\n.\r\x00\n", "\n.\r\n.\n", "\xc2\x85.\xc2\x85", "\xe2\x80\xa8.\xe2\x80\xa8", "\x0b.\x0b", "\x0c.\x0c",
	} {
		c := a.beginTransaction(t)
		if _, err := c.Expect(354, "DATA"); err != nil {
			t.Fatal(err)
		}
		text := "Subject: first\r\n\r\ntext" + end +
			"MAIL FROM:<smuggled@example.org>\r\nRCPT TO:<smuggled@example.com>\r\nDATA\r\nSubject: smuggled\r\n\r\ntext\r\n.\r\nQUIT\r\n"
		c.Conn.Write([]byte(text))
		if received := readToEnd(t, c.Conn, 2*timeout*time.Second); strings.Count(received, "queued as") != 1 {
			t.Errorf("%q: received %q, want one message queued", end, received)
		}
	}
	rows := a.rows(t, "to", "smuggled@example.com")
	if len(rows) != 0 {
		t.Errorf("%d smuggled messages were stored", len(rows))
	}
}
