package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
	"goguerrillad/internal/test/daemon"
)

// shared holds the program and the MariaDB server that the tests share.
var shared = daemon.NewSuite("e2e")

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// newDaemon returns a daemon of this tree's program. It is not started.
func newDaemon(t *testing.T, keys map[string]string) *daemon.Daemon {
	t.Helper()
	return shared.Daemon(t, keys)
}

// connect opens a session and sends EHLO.
func connect(t *testing.T, d *daemon.Daemon) *client.Client {
	t.Helper()
	c, err := client.Connect(d.Addr, 30*time.Second)
	if err == nil {
		err = c.Hello()
	}
	if err != nil {
		t.Fatalf("opening a session: %v\n%s", err, d.Log())
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// expect sends a command and fails the test unless the reply has the code and its text
// begins with the given text.
func expect(t *testing.T, c *client.Client, code int, text, command string) {
	t.Helper()
	r, err := c.Cmd("%s", command)
	if err != nil || r.Code != code || !strings.HasPrefix(r.Text, text) {
		t.Fatalf("%s: want %d %s, got %v, %v", command, code, text, r, err)
	}
}

// startTLS starts TLS in a session and sends EHLO again.
func startTLS(t *testing.T, c *client.Client, cert *test.Certificate) {
	t.Helper()
	err := c.StartTLS(cert.ClientConfig())
	if err == nil {
		err = c.Hello()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// send sends a small message and returns its hash.
func send(t *testing.T, c *client.Client, to string) string {
	t.Helper()
	r, err := c.Send("sender@example.org", "", []string{to}, []byte("Subject: small\r\n\r\ntext\r\n"))
	if err != nil || r.Code != 250 {
		t.Fatalf("message to %s: reply %v, %v", to, r, err)
	}
	return r.Hash()
}
