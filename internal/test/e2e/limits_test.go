package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
)

// TestLargeMessages sends 100 messages of 15 MB concurrently. Each reply is 250 or 452,
// and the memory of the daemon stays below 400 MiB.
func TestLargeMessages(t *testing.T) {
	const clients, size, maxMemory = 100, 15_000_000, 400 << 20
	line := append(bytes.Repeat([]byte("x"), 998), "\r\n"...)
	text := append([]byte("Subject: large\r\n\r\n"), bytes.Repeat(line, size/len(line))...)
	stuffed := client.Stuff(text)
	for _, store := range []string{"discard", "sqlite"} {
		t.Run(store, func(t *testing.T) {
			d := newDaemon(t, map[string]string{"GSMTP_MAX_SIZE": "16000000", "GM_SAVE_MAIL": store, "GSMTP_TIMEOUT": "100"})
			d.Start(t)
			replies := make(map[string]int)
			var mu sync.Mutex
			var all sync.WaitGroup
			for i := range clients {
				all.Go(func() {
					reply, err := sendLarge(d.Addr, fmt.Sprintf("large%d@example.com", i), stuffed)
					if err != nil {
						reply = err.Error()
					}
					mu.Lock()
					defer mu.Unlock()
					replies[reply]++
				})
			}
			all.Wait()
			for reply, n := range replies {
				if reply != "250 2.0.0" && reply != "452 4.3.1" {
					t.Errorf("%d replies %s", n, reply)
				}
			}
			if replies["250 2.0.0"] == 0 {
				t.Error("no message was accepted")
			}
			peak := d.Memory(t, "VmHWM")
			t.Logf("replies %v, peak memory %d MiB", replies, peak>>20)
			if peak > maxMemory {
				t.Errorf("peak memory %d MiB, want at most %d", peak>>20, maxMemory>>20)
			}
		})
	}
}

// sendLarge sends a message and returns the code and the enhanced code of the reply.
func sendLarge(addr, to string, stuffed []byte) (string, error) {
	c, err := client.Connect(addr, 150*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.Hello(); err != nil {
		return "", err
	}
	for _, command := range []string{"MAIL FROM:<large@example.org>", "RCPT TO:<" + to + ">"} {
		if _, err := c.Expect(250, "%s", command); err != nil {
			return "", err
		}
	}
	if _, err := c.Expect(354, "DATA"); err != nil {
		return "", err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := c.Conn.Write(stuffed)
		sent <- err
	}()
	// The daemon may refuse the text while it is being written.
	r, err := c.Reply()
	if err != nil {
		return "", err
	}
	c.Close()
	<-sent
	enhanced, _, _ := strings.Cut(r.Text, " ")
	return fmt.Sprintf("%d %s", r.Code, enhanced), nil
}

// TestIdleConnections measures the memory of sessions that wait for the next command.
func TestIdleConnections(t *testing.T) {
	dir := test.PublicDir(t)
	cert := test.NewCertificate(t, dir, "mx")
	for _, c := range []struct {
		name  string
		count int
		limit int64 // bytes of memory per session
		tls   bool
	}{
		{"plain", 5000, 2 << 10, false},
		{"TLS", 1000, 15 << 10, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			needDescriptors(t, c.count+500)
			d := newDaemon(t, map[string]string{
				"GM_MAX_CLIENTS": "6000", "GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile,
			})
			d.Start(t)
			open := func(n int) {
				for range n {
					client := connect(t, d)
					if c.tls {
						startTLS(t, client, cert)
					}
				}
			}
			open(50) // the first sessions allocate memory that all sessions share
			before := d.Memory(t, "VmRSS")
			open(c.count)
			each := (d.Memory(t, "VmRSS") - before) / int64(c.count)
			t.Logf("%d bytes per session", each)
			if each > c.limit {
				t.Errorf("%d bytes per session, want at most %d", each, c.limit)
			}
		})
	}
}

// needDescriptors skips the test if RLIMIT_NOFILE is below n. With CI=true the test
// fails instead.
func needDescriptors(t *testing.T, n int) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max >= uint64(n) {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%d descriptors, want %d (CI=true allows no skip)", limit.Max, n)
	}
	t.Skipf("%d descriptors, want %d", limit.Max, n)
}

// TestEndlessLine sends 26 MB without a line end, as a command and as text. The memory of
// the daemon grows by at most 4 MiB.
func TestEndlessLine(t *testing.T) {
	const size, maxGrowth = 26_000_000, 4 << 20
	for _, tls := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", tls), func(t *testing.T) {
			dir := test.PublicDir(t)
			cert := test.NewCertificate(t, dir, "mx")
			d := newDaemon(t, map[string]string{
				"GSMTP_MAX_SIZE": "131072", "GSMTP_PUB_KEY": cert.CertFile, "GSMTP_PRV_KEY": cert.KeyFile,
			})
			d.Start(t)
			c := connect(t, d)
			if tls {
				startTLS(t, c, cert)
			}
			send(t, c, "before@example.com") // the store and the buffers are allocated
			before := d.Memory(t, "VmHWM")
			sendLine(t, c.Conn, size)
			expect(t, c, 500, "5.5.", "")
			expect(t, c, 250, "", "NOOP")
			expect(t, c, 250, "2.1.0", "MAIL FROM:<sender@example.org>")
			expect(t, c, 250, "2.1.5", "RCPT TO:<one@example.com>")
			expect(t, c, 354, "", "DATA")
			sendLine(t, c.Conn, size)
			expect(t, c, 552, "5.3.4", "\r\n.")
			send(t, c, "after@example.com")
			growth := d.Memory(t, "VmHWM") - before
			t.Logf("memory grew by %d KiB", growth>>10)
			if growth > maxGrowth {
				t.Errorf("memory grew by %d KiB, want at most %d", growth>>10, maxGrowth>>10)
			}
		})
	}
}

// sendLine sends size bytes without a line end.
func sendLine(t *testing.T, conn net.Conn, size int) {
	t.Helper()
	block := bytes.Repeat([]byte("A"), 1<<16)
	for sent := 0; sent < size; sent += len(block) {
		if _, err := conn.Write(block); err != nil {
			t.Fatalf("after %d bytes: %v", sent, err)
		}
	}
}

// TestMaxClients: a client beyond GM_MAX_CLIENTS receives 421, and the daemon closes the
// connection. After a client has quit, another client is accepted.
func TestMaxClients(t *testing.T) {
	d := newDaemon(t, map[string]string{"GM_MAX_CLIENTS": "3"})
	d.Start(t)
	var clients []*client.Client
	test.Await(t, d.Process(), 10*time.Second, "opening three sessions", func() error {
		c, err := client.Connect(d.Addr, 10*time.Second)
		if err != nil {
			return err
		}
		if c.Greeting.Code != 220 { // the connection of d.Start may still count
			c.Close()
			return fmt.Errorf("greeting %v", c.Greeting)
		}
		t.Cleanup(func() { c.Close() })
		if clients = append(clients, c); len(clients) < 3 {
			return fmt.Errorf("%d sessions", len(clients))
		}
		return nil
	})
	c, err := client.Connect(d.Addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Greeting.Code != 421 || !strings.HasPrefix(c.Greeting.Text, "4.3.2") {
		t.Errorf("greeting of the fourth client: %v, want 421 4.3.2", c.Greeting)
	}
	if r, err := c.Reply(); err == nil {
		t.Errorf("the connection is not closed after 421: %v", r)
	}
	if _, err := clients[0].Expect(221, "QUIT"); err != nil {
		t.Error(err)
	}
	test.Await(t, d.Process(), 10*time.Second, "connecting after a client has quit", func() error {
		c, err := client.Connect(d.Addr, 10*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		if c.Greeting.Code != 220 {
			return fmt.Errorf("greeting %v", c.Greeting)
		}
		return nil
	})
}
