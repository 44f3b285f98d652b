package attacks

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
)

// halfHandshakes begins handshakes and does not finish them.
func halfHandshakes(t *testing.T, a *target) {
	var conns []net.Conn
	for i := range maxPerIP {
		c := a.connect(t)
		if _, err := c.Expect(220, "STARTTLS"); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 { // half a ClientHello
			c.Conn.Write([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half"))
		}
		conns = append(conns, c.Conn)
	}
	for _, conn := range conns {
		readToEnd(t, conn, 3*timeout*time.Second)
	}
}

func garbageHandshakes(t *testing.T, a *target) {
	for i := range 500 {
		conn, err := a.dial(66 + i%10)
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.New(conn, maxGoodTime)
		if err != nil {
			continue // the limit per address is reached
		}
		c.Cmd("EHLO x")
		c.Cmd("STARTTLS")
		c.Conn.Write([]byte(strings.Repeat("\x16\x03\x01\xff\xffgarbage", 1+i%100)))
		c.Close()
	}
}

// renegotiate requests a second handshake in a session with TLS 1.2. TLS 1.3 has no
// renegotiation.
func renegotiate(t *testing.T, a *target) {
	test.Need(t, "openssl")
	cmd := exec.Command("openssl", "s_client", "-starttls", "smtp", "-tls1_2", "-connect", a.Addr)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := test.Start(t, cmd)
	test.Await(t, p, 20*time.Second, "waiting for the handshake", func() error {
		if !strings.Contains(p.Output(), "Verify return code") {
			return fmt.Errorf("not finished")
		}
		return nil
	})
	fmt.Fprintf(in, "R\n")
	test.Await(t, nil, 20*time.Second, "waiting for the refusal", func() error {
		if !strings.Contains(p.Output(), "no renegotiation") && !strings.Contains(p.Output(), "error") {
			return fmt.Errorf("output %q", p.Output())
		}
		return nil
	})
	in.Close()
}

// injectAfterStartTLS sends commands in clear text after STARTTLS. The daemon must not execute
// them.
func injectAfterStartTLS(t *testing.T, a *target) {
	var all sync.WaitGroup
	for range 20 {
		c := a.connect(t)
		c.Conn.Write([]byte("STARTTLS\r\nMAIL FROM:<injected@example.org>\r\nRCPT TO:<injected@example.com>\r\nDATA\r\n"))
		all.Go(func() {
			c.Conn.SetReadDeadline(time.Now().Add(3 * timeout * time.Second))
			received, err := io.ReadAll(c.Conn)
			if timed, ok := err.(net.Error); ok && timed.Timeout() || strings.Contains(string(received), "354") || strings.Contains(string(received), "250") {
				t.Errorf("received %q, %v, want no 250 or 354 and the end of the connection", received, err)
			}
		})
	}
	all.Wait()
}
