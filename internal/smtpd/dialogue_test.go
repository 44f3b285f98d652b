package smtpd_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/test/dialogue"
)

// TestDialogues runs every dialogue of package session with a server: in clear,
// inside TLS, over a unix socket, and with writes of one byte each.
func TestDialogues(t *testing.T) {
	scripts, err := dialogue.Load(os.DirFS("../session/testdata"))
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		t.Run(script.Name, func(t *testing.T) {
			t.Parallel()
			if script.Settings.Clear {
				t.Run("tcp", func(t *testing.T) { runScript(t, script, "tcp", false, whole) })
				t.Run("unix", func(t *testing.T) { runScript(t, script, "unix", false, whole) })
				switch script.Name {
				case "tls-commands-after-starttls": // the server would take them for a ClientHello
				case "quit-in-a-transaction": // the socket may be closed when the bytes after QUIT are written
				default:
					t.Run("bytes", func(t *testing.T) { runScript(t, script, "tcp", false, 1) })
				}
			}
			if script.Settings.TLS {
				t.Run("tls", func(t *testing.T) { runScript(t, script, "tcp", true, whole) })
			}
		})
	}
}

// whole is the size of the pieces of a client that does not split its writes.
const whole = 1 << 30

// halfCloser is a slicer with CloseWrite.
type halfCloser struct{ slicer }

func (s halfCloser) CloseWrite() error {
	return s.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// runScript runs a script over a connection that writes pieces of n bytes.
func runScript(t *testing.T, script *dialogue.Script, network string, inside bool, n int) {
	f := start(t, func(s *setup) {
		s.settings = *script.Settings.Session()
		s.loops = 1
		s.save = func(e *envelope.Envelope, done func(error)) {
			go func() {
				err := script.Settings.StoreError()
				if err == nil {
					s.fixture.record(e)
				}
				done(err)
			}()
		}
	})
	addr := f.addr
	if network == "unix" {
		addr = f.unix
	}
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testTimeout))
	script.Run(t, &halfCloser{slicer{conn, n}}, dialogue.Options{
		Inside: inside,
		StartTLS: func(rw io.ReadWriter) (io.ReadWriter, error) {
			c := tls.Client(rw.(net.Conn), clientTLS())
			return c, c.Handshake()
		},
		Stored: f.messages,
	})
}

// TestOneWritePerGroup: the replies to a pipelined group arrive in one segment.
func TestOneWritePerGroup(t *testing.T) {
	f := start(t, nil)
	c := f.greeted()
	c.send("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<c@example.com>\r\nRCPT TO:<d@example.org>\r\nDATA\r\n")
	buf := make([]byte, 4096)
	n, err := c.Conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c.Conn)
	lines := 0
	for _, b := range buf[:n] {
		if b == '\n' {
			lines++
		}
	}
	if lines != 5 || in.Buffered() > 0 {
		t.Errorf("the first read returned %d replies, want 5: %q", lines, buf[:n])
	}
}
