package attacks

import (
	"fmt"
	"strings"
	"testing"

	"goguerrillad/internal/test/client"
)

// bombs returns messages that are cheap to send and expensive to parse.
func bombs() []attack {
	header := func(parts ...string) string { return strings.Join(parts, "\r\n") + "\r\n" }
	nested := func(depth int) string {
		var b strings.Builder
		for i := range depth {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
		}
		return b.String() + "Content-Type: text/plain\r\n\r\ntext\r\n"
	}
	prefixes := func(n int) string { // each boundary is a prefix of another boundary
		var b strings.Builder
		for i := range n {
			name := strings.Repeat("b", i%60+1)
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=%s\r\n\r\n--%s\r\n", name, name)
		}
		return b.String() + strings.Repeat("--"+strings.Repeat("b", 59)+"x\r\n", 30_000)
	}
	texts := []struct{ name, text string }{
		{"a header line of 1 MB", header("Subject: " + strings.Repeat("x", 1<<20))},
		{"a header line of 1 MB, folded", header("Subject:" + strings.Repeat("\r\n x", 1<<20/4))},
		{"100,000 header lines", strings.Repeat("X-Header: value\r\n", 100_000) + "\r\ntext\r\n"},
		{"60,000 header fields of one name", strings.Repeat("Content-Type: text/plain; charset=x\r\n", 60_000) + "\r\ntext\r\n"},
		{"10,000 parts", header("Content-Type: multipart/mixed; boundary=b", "") + strings.Repeat("--b\r\nContent-Disposition: attachment; filename=x\r\n\r\nx\r\n", 10_000) + "--b--\r\n"},
		{"parts 3,000 deep", nested(3000)},
		{"messages 3,000 deep", strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 3000) + "\r\n"},
		{"100,000 encoded words", header("Subject: " + strings.Repeat("=?utf-8?Q?a?= ", 100_000))},
		{"100,000 encoded words of many charsets", header("Subject: " + strings.Repeat("=?iso-2022-jp?B?GyRCJCIbKEI=?= =?big5?Q?=A4=A4?= ", 50_000))},
		{"100,000 incomplete encoded words", header("Subject: " + strings.Repeat("=?utf-8?Q?", 100_000))},
		{"boundaries that are prefixes of each other", prefixes(600)},
		{"100,000 parameters", header("Content-Type: text/plain" + strings.Repeat("; a=b", 100_000))},
		{"10,000 sections of a file name", header("Content-Disposition: attachment" + sections(10_000))},
		{"quotes and comments without an end", header("Content-Type: text/plain; name=\"" + strings.Repeat("\\\"", 500_000) + strings.Repeat("(", 200_000))},
	}
	var attacks []attack
	for _, x := range texts { // the timeout allows for slow parsing on a busy machine
		attacks = append(attacks, attack{name: x.name, maxGrowth: memory + 2*baseGrowth, keys: map[string]string{"GSMTP_TIMEOUT": "60"},
			run: func(t *testing.T, a *target) { a.bomb(t, x.text) }})
	}
	return attacks
}

// sections returns a file name in n sections (RFC 2231), in reverse order.
func sections(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "; filename*%d=x", n-i)
	}
	return b.String()
}

// bomb sends a message several times concurrently and checks that each copy is stored
// unchanged.
func (a *target) bomb(t *testing.T, text string) {
	t.Helper()
	const times = 5
	done := make(chan error, times)
	var clients []*client.Client
	for range times {
		clients = append(clients, a.connect(t))
	}
	for _, c := range clients {
		go func() {
			r, err := c.Send("bomb@example.org", "", []string{"bomb@example.com"}, []byte(text))
			if err == nil && r.Code != 250 {
				err = fmt.Errorf("reply %v", r)
			}
			done <- err
		}()
	}
	for range times {
		if err := <-done; err != nil {
			t.Errorf("sending a valid message: %v", err)
		}
	}
	rows := a.rows(t, "to", "bomb@example.com")
	if len(rows) != times {
		t.Errorf("%d rows, want %d", len(rows), times)
	}
	for _, r := range rows {
		if !strings.HasSuffix(r["mail"], text) {
			t.Error("the stored text differs from the text that was sent")
		}
	}
}
