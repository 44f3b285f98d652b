package authhttp_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/smtp"
	"goguerrillad/internal/test"
)

// backend is an SMTP server whose health the test decides.
type backend struct {
	addr netip.AddrPort

	mu       sync.Mutex
	proxy    bool   // require a PROXY header
	greeting string // "" is no greeting
	sessions int    // number to report; -1 is no report
	number   string // to report instead of sessions, if it is not ""
	checks   int
}

func newBackend(t *testing.T, greeting string, sessions int) *backend {
	t.Helper()
	return newBackendAt(t, "127.0.0.1:0", greeting, sessions)
}

func newBackendAt(t *testing.T, addr, greeting string, sessions int) *backend {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	b := &backend{addr: netip.MustParseAddrPort(l.Addr().String()), greeting: greeting, sessions: sessions}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go b.serve(conn)
		}
	}()
	return b
}

func (b *backend) serve(conn net.Conn) {
	defer conn.Close()
	b.mu.Lock()
	proxy, greeting, number := b.proxy, b.greeting, b.number
	if number == "" && b.sessions >= 0 {
		number = strconv.Itoa(b.sessions)
	}
	b.checks++
	b.mu.Unlock()
	in := bufio.NewReader(conn)
	if proxy {
		header := make([]byte, len(smtp.LocalProxyHeader))
		if _, err := io.ReadFull(in, header); err != nil || string(header) != smtp.LocalProxyHeader {
			return
		}
	}
	if greeting != "" {
		io.WriteString(conn, greeting)
	}
	for in := bufio.NewScanner(in); in.Scan(); {
		switch {
		case strings.HasPrefix(in.Text(), "EHLO") && number != "":
			fmt.Fprintf(conn, "250-x\r\n250-SIZE 1\r\n250 X-SESSIONS %s\r\n", number)
		case in.Text() == "QUIT":
			io.WriteString(conn, "221 bye\r\n")
			return
		}
	}
}

// change changes the greeting and the number of sessions, and waits for two checks,
// since the first check may have started before the change.
func (b *backend) change(t *testing.T, greeting string, sessions int) {
	t.Helper()
	b.mu.Lock()
	b.greeting, b.sessions = greeting, sessions
	seen := b.checks
	b.mu.Unlock()
	test.Await(t, nil, 60*time.Second, "two checks", func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.checks < seen+2 {
			return fmt.Errorf("%d checks since the change", b.checks-seen)
		}
		return nil
	})
}

// ready is the greeting of a healthy backend.
const ready = "220-welcome\r\n220 x ESMTP\r\n"
