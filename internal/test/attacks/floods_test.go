package attacks

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
)

// floods returns attacks with many, idle or slow connections, and with broken handshakes.
func floods() []attack {
	return []attack{
		{name: "connections from one address", run: floodFromOneAddress},
		{name: "connections from many addresses, more than GM_MAX_CLIENTS", run: floodFromManyAddresses},
		{name: "20,000 connections that are closed immediately", run: floodOfShortConnections},
		{name: "no command", run: sendNothing},
		{name: "a command byte by byte", run: sendSlowly(false)},
		{name: "a text byte by byte", run: sendSlowly(true)},
		{name: "replies not read", run: readNothing},
		{name: "replies read byte by byte", run: readSlowly},
		{name: "incomplete handshakes", run: halfHandshakes},
		{name: "garbage in handshakes", run: garbageHandshakes},
		{name: "renegotiation", run: renegotiate},
		{name: "commands after STARTTLS", run: injectAfterStartTLS},
		{name: "HTTP on the port", run: sendOtherProtocol("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\nEHLO x\r\nMAIL FROM:<http@example.org>\r\nRCPT TO:<x@example.com>\r\n")},
		{name: "TLS on the port", run: sendOtherProtocol("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("x", 507))},
	}
}

// hold opens n connections from the address 127.0.0.address and returns the number of
// greetings 220. The connections stay open until the end of the test.
func (a *target) hold(t *testing.T, address, n int) (greeted int) {
	t.Helper()
	for range n {
		conn, err := a.dial(address)
		if err != nil {
			continue
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetReadDeadline(time.Now().Add(maxGoodTime))
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err == nil && strings.HasPrefix(line, "220 ") {
			greeted++
		} else if err == nil && !strings.HasPrefix(line, "421 ") {
			t.Fatalf("greeting %q, want 220 or 421", line)
		}
	}
	return greeted
}

func floodFromOneAddress(t *testing.T, a *target) {
	if n := a.hold(t, 66, 500); n < maxPerIP || n > 2*maxPerIP { // sessions may expire during the attack
		t.Errorf("%d of 500 connections received 220, want %d to %d", n, maxPerIP, 2*maxPerIP)
	}
}

// floodFromManyAddresses opens more connections than GM_MAX_CLIENTS. The daemon must serve a
// session from before the attack, and reply 421 to a new client.
func floodFromManyAddresses(t *testing.T, a *target) {
	close(a.quit) // the daemon would refuse the well-behaved client
	a.background.Wait()
	a.quit = make(chan struct{})
	earlier := a.connect(t)
	for address := 70; address < 80; address++ {
		a.hold(t, address, 50)
	}
	began := time.Now()
	c, err := client.Connect(a.Addr, maxGoodTime)
	if err != nil || c.Greeting.Code != 421 {
		t.Errorf("greeting at the client limit: %v, %v, want 421", c, err)
	}
	if took := time.Since(began); took > maxGoodTime {
		t.Errorf("421 after %v, want at most %v", took, maxGoodTime)
	}
	r, err := earlier.Send("inside@example.org", "", []string{"inside@example.com"}, []byte("Subject: inside\r\n\r\n"))
	if err != nil || r.Code != 250 {
		t.Errorf("session from before the attack: reply %v, %v, want 250", r, err)
	}
	test.Await(t, a.Process(), 3*timeout*time.Second, "sending a message after the attack", a.sendGood)
}

func floodOfShortConnections(t *testing.T, a *target) {
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

// readToEnd waits until the server closes a connection, and returns the bytes that it sent.
func readToEnd(t *testing.T, conn net.Conn, within time.Duration) string {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(within))
	received, err := io.ReadAll(conn)
	if timed, ok := err.(net.Error); ok && timed.Timeout() {
		t.Fatalf("the connection is not closed within %v", within)
	}
	return string(received)
}

func sendNothing(t *testing.T, a *target) {
	var conns []net.Conn
	for range maxPerIP {
		conn, err := a.dial(66)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		if received := readToEnd(t, conn, 3*timeout*time.Second); !strings.Contains(received, "\r\n421 4.4.2") {
			t.Errorf("an idle client received %q, want 421 4.4.2", received)
		}
	}
}

// sendSlowly sends a byte of a command or of a text every 100 ms. The daemon must close the
// connection, since the deadline applies to the whole command or text.
func sendSlowly(text bool) func(*testing.T, *target) {
	return func(t *testing.T, a *target) {
		var all sync.WaitGroup
		for range 30 {
			c := a.connect(t)
			if text {
				for _, command := range []string{"MAIL FROM:<drip@example.org>", "RCPT TO:<drip@example.com>", "DATA"} {
					if _, err := c.Cmd("%s", command); err != nil {
						t.Fatal(err)
					}
				}
			}
			all.Go(func() {
				for began := time.Now(); time.Since(began) < 4*timeout*time.Second; {
					if _, err := c.Conn.Write([]byte("x")); err != nil {
						return
					}
					time.Sleep(100 * time.Millisecond) // the attack
				}
				t.Errorf("still connected after %d s", 4*timeout)
			})
		}
		all.Wait()
	}
}

func readNothing(t *testing.T, a *target) {
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
						t.Errorf("still connected after %d s", 10*timeout)
					}
					return
				}
			}
			t.Errorf("the daemon read %d MB of commands from a client that reads no replies", len(flood)/1000)
		})
	}
	all.Wait()
}

func readSlowly(t *testing.T, a *target) {
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
			for began := time.Now(); time.Since(began) < 3*timeout*time.Second; {
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

// sendOtherProtocol sends the beginning of another protocol.
func sendOtherProtocol(hello string) func(*testing.T, *target) {
	return func(t *testing.T, a *target) {
		for range 100 {
			conn, err := a.dial(66)
			if err != nil {
				t.Fatal(err)
			}
			conn.Write([]byte(hello))
			if received := readToEnd(t, conn, timeout*time.Second/2); strings.Contains(received, "354") || strings.Count(received, "\n") > 4 {
				t.Errorf("received %q, want at most 4 lines and no 354", received)
			}
			conn.Close()
		}
	}
}
