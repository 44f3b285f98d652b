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

// TestLargeMails sends 1.5 GB at once.
func TestLargeMails(t *testing.T) {
	const clients, size, most = 100, 15_000_000, 400 << 20
	line := append(bytes.Repeat([]byte("x"), 998), "\r\n"...)
	text := append([]byte("Subject: large\r\n\r\n"), bytes.Repeat(line, size/len(line))...)
	wired := client.Stuff(text)
	for _, store := range []string{"discard", "sqlite"} {
		t.Run(store, func(t *testing.T) {
			d := newDaemon(t, map[string]string{"GSMTP_MAX_SIZE": "16000000", "GM_SAVE_MAIL": store, "GSMTP_TIMEOUT": "100"})
			d.Start(t)
			codes := make(map[string]int)
			var mu sync.Mutex
			var all sync.WaitGroup
			for i := range clients {
				all.Go(func() {
					reply, err := sendLarge(d.Addr, fmt.Sprintf("large%d@example.com", i), wired)
					if err != nil {
						reply = err.Error()
					}
					mu.Lock()
					defer mu.Unlock()
					codes[reply]++
				})
			}
			all.Wait()
			for reply, n := range codes {
				if reply != "250 2.0.0" && reply != "452 4.3.1" {
					t.Errorf("%d times %s", n, reply)
				}
			}
			if codes["250 2.0.0"] == 0 {
				t.Error("not one was taken")
			}
			peak := d.Memory(t, "VmHWM")
			t.Logf("%v, at most %d MiB", codes, peak>>20)
			if peak > most {
				t.Errorf("%d MiB of memory", peak>>20)
			}
		})
	}
}

// sendLarge returns code and enhanced code of the reply to a text.
func sendLarge(addr, to string, wired []byte) (string, error) {
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
		_, err := c.Conn.Write(wired)
		sent <- err
	}()
	// A refusal may come while the text is still being written.
	r, err := c.Reply()
	if err != nil {
		return "", err
	}
	c.Close()
	<-sent
	enhanced, _, _ := strings.Cut(r.Text, " ")
	return fmt.Sprintf("%d %s", r.Code, enhanced), nil
}

// TestIdleConnections weighs sessions that wait for the next command.
func TestIdleConnections(t *testing.T) {
	dir := test.PublicDir(t)
	cert := test.NewCertificate(t, dir, "mx")
	for _, c := range []struct {
		name  string
		count int
		most  int64 // bytes each
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
						if err := client.StartTLS(cert.ClientConfig()); err != nil {
							t.Fatal(err)
						}
						if err := client.Hello(); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			open(50) // what the first ones cost is the daemon's, not theirs
			before := d.Memory(t, "VmRSS")
			open(c.count)
			each := (d.Memory(t, "VmRSS") - before) / int64(c.count)
			t.Logf("%d bytes each", each)
			if each > c.most {
				t.Errorf("%d bytes each, want at most %d", each, c.most)
			}
		})
	}
}

// needDescriptors ends the test where the system gives too few.
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
		t.Fatalf("only %d descriptors, and CI=true allows no skip", limit.Max)
	}
	t.Skipf("needs %d descriptors, there are %d", n, limit.Max)
}

// TestEndlessLine sends 26 MB without a line end, as a command and as text.
func TestEndlessLine(t *testing.T) {
	const size, most = 26_000_000, 4 << 20
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
				if err := c.StartTLS(cert.ClientConfig()); err != nil {
					t.Fatal(err)
				}
				if err := c.Hello(); err != nil {
					t.Fatal(err)
				}
			}
			send(t, c, "before@example.com") // store and buffers are warm
			before := d.Memory(t, "VmHWM")
			endless(t, c.Conn, size)
			expect(t, c, 500, "5.5.", "")
			expect(t, c, 250, "", "NOOP")
			expect(t, c, 250, "2.1.0", "MAIL FROM:<sender@example.org>")
			expect(t, c, 250, "2.1.5", "RCPT TO:<one@example.com>")
			expect(t, c, 354, "", "DATA")
			endless(t, c.Conn, size)
			expect(t, c, 552, "5.3.4", "\r\n.")
			send(t, c, "after@example.com")
			more := d.Memory(t, "VmHWM") - before
			t.Logf("%d KiB more", more>>10)
			if more > most {
				t.Errorf("%d KiB more memory", more>>10)
			}
		})
	}
}

func endless(t *testing.T, conn net.Conn, size int) {
	t.Helper()
	block := bytes.Repeat([]byte("A"), 1<<16)
	for sent := 0; sent < size; sent += len(block) {
		if _, err := conn.Write(block); err != nil {
			t.Fatalf("after %d bytes: %v", sent, err)
		}
	}
}

// TestMaxClients: beyond the limit, 421 and the end; a place that becomes
// free is given away.
func TestMaxClients(t *testing.T) {
	d := newDaemon(t, map[string]string{"GM_MAX_CLIENTS": "3"})
	d.Start(t)
	var clients []*client.Client
	test.Await(t, d.Process(), 10*time.Second, "three sessions", func() error {
		c, err := client.Connect(d.Addr, 10*time.Second)
		if err != nil {
			return err
		}
		if c.Greeting.Code != 220 { // the one that looked whether we are up still counts
			c.Close()
			return fmt.Errorf("%v", c.Greeting)
		}
		t.Cleanup(func() { c.Close() })
		if clients = append(clients, c); len(clients) < 3 {
			return fmt.Errorf("%d", len(clients))
		}
		return nil
	})
	c, err := client.Connect(d.Addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Greeting.Code != 421 || !strings.HasPrefix(c.Greeting.Text, "4.3.2") {
		t.Errorf("greeting %v", c.Greeting)
	}
	if r, err := c.Reply(); err == nil {
		t.Errorf("not closed: %v", r)
	}
	if _, err := clients[0].Expect(221, "QUIT"); err != nil {
		t.Error(err)
	}
	test.Await(t, d.Process(), 10*time.Second, "the free place", func() error {
		c, err := client.Connect(d.Addr, 10*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		if c.Greeting.Code != 220 {
			return fmt.Errorf("%v", c.Greeting)
		}
		return nil
	})
}
