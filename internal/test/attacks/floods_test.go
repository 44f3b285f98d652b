package attacks

import (
	"bufio"
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

// floods are attacks by connections, their number, and what is not said on
// them.
func floods() []attack {
	return []attack{
		{name: "connections from one address", run: floodOne},
		{name: "connections from many addresses, beyond all places", run: floodMany},
		{name: "20,000 connections that end at once", run: floodShort},
		{name: "silence before a command", run: silent},
		{name: "commands a byte at a time", run: drip("NOOP", 0)},
		{name: "text a byte at a time", run: drip("text", 1)},
		{name: "replies that nobody reads", run: neverRead},
		{name: "replies read a byte at a time", run: slowRead},
		{name: "handshakes half done", run: halfOpen},
		{name: "handshakes of garbage", run: garbageHandshakes},
		{name: "renegotiation", run: renegotiate},
		{name: "commands behind STARTTLS", run: injectTLS},
		{name: "HTTP on the port", run: foreign("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\nEHLO x\r\nMAIL FROM:<http@example.org>\r\nRCPT TO:<x@example.com>\r\n")},
		{name: "TLS on the port", run: foreign("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("x", 507))},
	}
}

// hold opens n connections from an address and keeps those that are greeted.
func (a *arena) hold(t *testing.T, address, n int) (greeted int) {
	t.Helper()
	for range n {
		conn, err := a.dial(address)
		if err != nil {
			continue
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetReadDeadline(time.Now().Add(goodPatience))
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err == nil && strings.HasPrefix(line, "220 ") {
			greeted++
		} else if err == nil && !strings.HasPrefix(line, "421 ") {
			t.Fatalf("greeting %q", line)
		}
	}
	return greeted
}

func floodOne(t *testing.T, a *arena) {
	if n := a.hold(t, 66, 500); n < maxPerIP || n > 2*maxPerIP { // some places become free meanwhile
		t.Errorf("%d of 500 connections are greeted, want %d", n, maxPerIP)
	}
}

// floodMany takes all places but that of a session which is there before. That
// one is served; who comes later is told so at once.
func floodMany(t *testing.T, a *arena) {
	close(a.quit) // it could not get in
	a.beside.Wait()
	a.quit = make(chan struct{})
	inside := a.enter(t)
	for address := 70; address < 80; address++ {
		a.hold(t, address, 50)
	}
	begun := time.Now()
	c, err := client.Connect(a.Addr, goodPatience)
	if err != nil || c.Greeting.Code != 421 {
		t.Errorf("greeting when all places are taken: %v, %v", c, err)
	}
	if took := time.Since(begun); took > goodPatience {
		t.Errorf("%v to be told", took)
	}
	r, err := inside.Send("inside@example.org", "", []string{"inside@example.com"}, []byte("Subject: inside\r\n\r\n"))
	if err != nil || r.Code != 250 {
		t.Errorf("a session that was there before: %v, %v", r, err)
	}
	test.Await(t, a.Process(), 3*timeout*time.Second, "the places become free", a.good)
}

func floodShort(t *testing.T, a *arena) {
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			for n := range 2000 {
				conn, err := a.dial(70 + i)
				if err != nil {
					continue
				}
				if n%2 == 0 {
					conn.(*net.TCPConn).SetLinger(0)
				}
				conn.Close()
			}
		})
	}
	all.Wait()
}

// ended waits for the server to end a connection, and returns what it said.
func ended(t *testing.T, conn net.Conn, within time.Duration) string {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(within))
	said, err := io.ReadAll(conn)
	if timed, ok := err.(net.Error); ok && timed.Timeout() {
		t.Fatalf("the connection does not end within %v", within)
	}
	return string(said)
}

func silent(t *testing.T, a *arena) {
	var held []net.Conn
	for range maxPerIP {
		conn, err := a.dial(66)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		held = append(held, conn)
	}
	for _, conn := range held {
		if said := ended(t, conn, 3*timeout*time.Second); !strings.Contains(said, "\r\n421 4.4.2") {
			t.Errorf("a silent client hears %q", said)
		}
	}
}

// drip sends a byte now and then, of a command or of a text: what counts is
// the time of the whole.
func drip(what string, text int) func(*testing.T, *arena) {
	return func(t *testing.T, a *arena) {
		var all sync.WaitGroup
		for range 30 {
			c := a.enter(t)
			if text > 0 {
				for _, command := range []string{"MAIL FROM:<drip@example.org>", "RCPT TO:<drip@example.com>", "DATA"} {
					if _, err := c.Cmd("%s", command); err != nil {
						t.Fatal(err)
					}
				}
			}
			all.Go(func() {
				for begun := time.Now(); time.Since(begun) < 4*timeout*time.Second; {
					if _, err := c.Conn.Write([]byte("x")); err != nil {
						return
					}
					time.Sleep(100 * time.Millisecond) // the attack
				}
				t.Errorf("%s: still connected", what)
			})
		}
		all.Wait()
	}
}

func neverRead(t *testing.T, a *arena) {
	flood := []byte(strings.Repeat("EHLO attacker.example\r\nHELP\r\n", 10_000))
	var all sync.WaitGroup
	for range 30 {
		conn, err := a.dial(66)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		all.Go(func() {
			conn.SetWriteDeadline(time.Now().Add(10 * timeout * time.Second))
			for range 1000 {
				if _, err := conn.Write(flood); err != nil {
					if timed, ok := err.(net.Error); ok && timed.Timeout() {
						t.Error("still connected")
					}
					return
				}
			}
			t.Error("300 MB of commands were taken from one that reads nothing")
		})
	}
	all.Wait()
}

func slowRead(t *testing.T, a *arena) {
	flood := []byte(strings.Repeat("EHLO attacker.example\r\n", 100_000))
	var all sync.WaitGroup
	for range 30 {
		conn, err := a.dial(66)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		all.Go(func() {
			all.Go(func() { conn.Write(flood) })
			one := make([]byte, 1)
			for begun := time.Now(); time.Since(begun) < 3*timeout*time.Second; {
				conn.SetReadDeadline(time.Now().Add(time.Second))
				if _, err := conn.Read(one); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond) // the attack
			}
			conn.Close()
		})
	}
	all.Wait()
}

func halfOpen(t *testing.T, a *arena) {
	var held []net.Conn
	for i := range maxPerIP {
		c := a.enter(t)
		if _, err := c.Expect(220, "STARTTLS"); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 { // half a ClientHello
			c.Conn.Write([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half"))
		}
		held = append(held, c.Conn)
	}
	for _, conn := range held {
		ended(t, conn, 3*timeout*time.Second)
	}
}

func garbageHandshakes(t *testing.T, a *arena) {
	for i := range 500 {
		conn, err := a.dial(66 + i%10)
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.New(conn, goodPatience)
		if err != nil {
			continue // one more than an address may have
		}
		c.Cmd("EHLO x")
		c.Cmd("STARTTLS")
		c.Conn.Write([]byte(strings.Repeat("\x16\x03\x01\xff\xffgarbage", 1+i%100)))
		c.Close()
	}
}

// renegotiate asks for a second handshake in the midst of a session, as only
// TLS 1.2 has it.
func renegotiate(t *testing.T, a *arena) {
	test.Need(t, "openssl")
	cmd := exec.Command("openssl", "s_client", "-starttls", "smtp", "-tls1_2", "-connect", a.Addr)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := test.Start(t, cmd)
	test.Await(t, p, 20*time.Second, "the handshake", func() error {
		if !strings.Contains(p.Output(), "Verify return code") {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	fmt.Fprintf(in, "R\n")
	test.Await(t, nil, 20*time.Second, "the refusal", func() error {
		if !strings.Contains(p.Output(), "no renegotiation") && !strings.Contains(p.Output(), "error") {
			return fmt.Errorf("%s", p.Output())
		}
		return nil
	})
	in.Close()
}

// injectTLS: what came in clear behind STARTTLS is never heard inside TLS, nor
// taken for the handshake.
func injectTLS(t *testing.T, a *arena) {
	var all sync.WaitGroup
	for range 20 {
		c := a.enter(t)
		c.Conn.Write([]byte("STARTTLS\r\nMAIL FROM:<injected@example.org>\r\nRCPT TO:<injected@example.com>\r\nDATA\r\n"))
		all.Go(func() {
			c.Conn.SetReadDeadline(time.Now().Add(3 * timeout * time.Second))
			said, err := io.ReadAll(c.Conn)
			if timed, ok := err.(net.Error); ok && timed.Timeout() || strings.Contains(string(said), "354") || strings.Contains(string(said), "250") {
				t.Errorf("%q, %v", said, err)
			}
		})
	}
	all.Wait()
}

// foreign speaks another protocol.
func foreign(hello string) func(*testing.T, *arena) {
	return func(t *testing.T, a *arena) {
		for range 100 {
			conn, err := a.dial(66)
			if err != nil {
				t.Fatal(err)
			}
			conn.Write([]byte(hello))
			if said := ended(t, conn, timeout*time.Second/2); strings.Contains(said, "354") || strings.Count(said, "\n") > 4 {
				t.Errorf("%q", said)
			}
			conn.Close()
		}
	}
}
