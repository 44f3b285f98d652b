package smtpd_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
	"goguerrillad/internal/smtpd"
)

// TestBackPressure: 12 clients send messages that are three times the budget
// together. Each gets 250 or 452 within testTimeout, and all memory is released.
func TestBackPressure(t *testing.T) {
	for _, inside := range []bool{false, true} {
		for _, declared := range []bool{false, true} {
			t.Run(fmt.Sprintf("tls=%v declared=%v", inside, declared), func(t *testing.T) {
				const budget = 4 << 20
				const size = budget / 4
				f := start(t, func(s *setup) {
					s.settings.MaxSize = size + 1000
					s.limits.Memory = budget
				})
				text := strings.Repeat(strings.Repeat("x", 98)+"\r\n", size/100) + ".\r\n"
				const clients = 12
				replies := make(chan string, clients)
				var ready sync.WaitGroup
				ready.Add(clients)
				for range clients {
					go func() {
						c := f.greeted()
						if inside {
							c.startTLS()
							c.cmd("EHLO client.example", "250")
						}
						mail := "MAIL FROM:<a@example.org>"
						if declared {
							mail += fmt.Sprintf(" SIZE=%d", size)
						}
						c.cmd(mail, "250")
						c.cmd("RCPT TO:<b@example.com>", "250")
						// No client sends its message before all clients are here.
						ready.Done()
						ready.Wait()
						c.send("DATA\r\n")
						c.expect("354")
						c.send(text[:len(text)/2])
						c.send(text[len(text)/2:])
						reply := c.expect("")[:3]
						c.cmd("QUIT", "221")
						replies <- reply
					}()
				}
				got := map[string]int{}
				for range clients {
					select {
					case r := <-replies:
						got[r]++
					case <-time.After(testTimeout):
						t.Fatalf("timeout: replies so far %v, %+v", got, f.server.Stats())
					}
				}
				if got["250"]+got["452"] != clients || got["250"] == 0 {
					t.Errorf("replies are %v, want %d of 250 and 452, at least one 250", got, clients)
				}
				f.await("release of all memory", func(s smtpd.Stats) bool { return s.Memory == 0 && s.Waiting == 0 })
			})
		}
	}
}

// TestMemoryTimeout: a client whose message waits for memory longer than the
// timeout gets 452, and its session continues.
func TestMemoryTimeout(t *testing.T) {
	const size = 1 << 20
	f := start(t, func(s *setup) {
		s.settings.MaxSize = size
		s.settings.Timeout = time.Second
		s.limits.Memory = 3 * size / 2
	})
	request := func() *client {
		c := f.greeted()
		c.cmd(fmt.Sprintf("MAIL FROM:<a@example.org> SIZE=%d", size-1000), "250")
		c.cmd("RCPT TO:<b@example.com>", "250")
		c.send("DATA\r\n")
		return c
	}
	first := request()
	first.expect("354")
	// The first client keeps its memory, above the minimum rate.
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				io.WriteString(first.Conn, strings.Repeat("x", 100)+"\r\n")
			}
		}
	}()
	second := request()
	second.expect("452 4.3.1")
	second.cmd("NOOP", "250")
	third := request()
	f.await("wait for memory", func(s smtpd.Stats) bool { return s.Waiting == 1 })
	third.Conn.(*net.TCPConn).SetLinger(0)
	third.Close()
	f.await("end of the wait for memory", func(s smtpd.Stats) bool { return s.Waiting == 0 && s.Sessions == 2 })
}

// TestMemoryStays: the process's memory stays bounded whatever clients send.
func TestMemoryStays(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("measures a process")
	}
	t.Run("line without end", func(t *testing.T) {
		d := startDaemon(t, daemonSettings{MaxClients: 100, MaxSize: 1 << 20, Memory: 8 << 20})
		d.client(t).cmd("NOOP", "250")
		before := d.status("VmHWM")
		line := bytes.Repeat([]byte("x"), 26<<20)
		c := d.client(t)
		c.Write(line)
		c.cmd("", "500")
		c.begin()
		c.Write(line)
		c.cmd("\r\n.", "552")
		c.begin()
		c.cmd("text\r\n.", "250")
		if grown := d.status("VmHWM") - before; grown > 6<<10 {
			t.Errorf("52 MiB of lines without end took %d KiB, want at most 6 MiB", grown)
		}
	})
	t.Run("many large messages", func(t *testing.T) {
		const clients, size, limit = 100, 15 << 20, 256 << 20
		d := startDaemon(t, daemonSettings{MaxClients: 200, MaxSize: 20 << 20, Memory: limit})
		chunk := bytes.Repeat([]byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n"), 16<<10)
		var wg sync.WaitGroup
		for range clients {
			c := d.client(t)
			c.SetDeadline(time.Now().Add(3 * time.Minute))
			c.cmd("MAIL FROM:<a@example.org>", "250")
			c.cmd("RCPT TO:<b@example.com>", "250")
			wg.Go(func() {
				c.send("DATA\r\n")
				if r := c.expect("")[:3]; r != "354" {
					if r != "452" {
						t.Errorf("the reply to DATA is %s, want 354 or 452", r)
					}
					return
				}
				for range size / len(chunk) {
					c.Write(chunk)
				}
				c.send(".\r\n")
				if r := c.expect("")[:3]; r != "250" && r != "452" {
					t.Errorf("the reply to the message is %s, want 250 or 452", r)
				}
			})
		}
		wg.Wait()
		peak := d.status("VmHWM")
		t.Logf("peak %d MiB", peak>>10)
		if peak > 400<<10 {
			t.Errorf("%d clients with %d MiB each took %d MiB, want at most 400", clients, size>>20, peak>>10)
		}
	})
}

// TestIdleCost: an idle session costs at most 2 KiB, and 6,800 bytes inside TLS, without garbage.
func TestIdleCost(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("measures a process")
	}
	t.Setenv("GOGC", "5") // of the process that is measured
	for _, test := range []struct {
		name   string
		n      int
		inside bool
		most   int // bytes each
	}{
		{"clear", 5000, false, 2 << 10},
		{"tls", 4000, true, 6800},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := startDaemon(t, daemonSettings{MaxClients: 10000, MaxSize: 1 << 20, Memory: 64 << 20})
			open := func() {
				c := d.client(t)
				if test.inside {
					c.startTLS()
					c.cmd("EHLO client.example", "250")
				}
				c.in = nil // saves memory of the test
			}
			for range 50 {
				open() // the first sessions also allocate what all sessions share
			}
			before := d.status("VmRSS")
			for range test.n {
				open()
			}
			each := (d.status("VmRSS") - before) << 10 / test.n
			t.Logf("%d bytes for each session", each)
			if each > test.most {
				t.Errorf("an idle session costs %d bytes, want at most %d", each, test.most)
			}
		})
	}
}

// client connects to the daemon and sends EHLO.
func (d *daemon) client(t testing.TB) *client {
	t.Helper()
	f := &fixture{t: t, addr: d.addr}
	return f.greeted()
}

// pausing is session.Recipients that knows every recipient. At one recipient it
// blocks the loop's thread until the test sends to resume.
type pausing struct{ paused, resume chan struct{} }

func (p pausing) Known(address string) (*smtp.Reply, bool) {
	if address == "pause@example.com" {
		p.paused <- struct{}{}
		<-p.resume
	}
	return nil, true
}

func (pausing) Ask(string, func(*smtp.Reply)) {}

// TestGrantAfterDeadline: if a session's deadline passes in the round in which it
// gets its memory, and the session then waits for memory again, the second wait
// has the whole timeout.
func TestGrantAfterDeadline(t *testing.T) {
	const size = 1 << 20
	loop := pausing{make(chan struct{}), make(chan struct{})}
	var usual session.Settings
	f := start(t, func(s *setup) {
		s.loops = 1
		s.settings.MaxSize = size
		s.settings.Timeout = time.Hour
		s.settings.Recipients = loop
		s.limits.Memory = size / 2
		usual = s.settings
	})
	setTimeout := func(d time.Duration) {
		settings := usual
		settings.Timeout = d
		f.settings.Store(&settings)
	}
	setMemory := func(n int64) { f.server.Reload(smtpd.Settings{MaxClients: 10, Memory: n}) }

	other, c, last := f.greeted(), f.greeted(), f.greeted()
	last.cmd("MAIL FROM:<a@example.org>", "250")
	mail := fmt.Sprintf("MAIL FROM:<a@example.org> SIZE=%d\r\n", size)
	c.send(mail + "RCPT TO:<b@example.com>\r\nDATA\r\n" + mail + "RCPT TO:<pause@example.com>\r\nDATA\r\n")
	f.await("wait for memory", func(s smtpd.Stats) bool { return s.Waiting == 1 })
	for since := time.Now(); time.Since(since) < 5*time.Millisecond; {
		other.cmd("NOOP", "250")
	}
	last.send("RCPT TO:<pause@example.com>\r\n")
	<-loop.paused // within a round, after it received its notes
	setMemory(4 * size)
	setMemory(size / 2)
	setTimeout(time.Millisecond)
	loop.resume <- struct{}{}
	<-loop.paused // the first transaction got its 452
	setTimeout(time.Hour)
	loop.resume <- struct{}{}
	for _, reply := range []string{"250", "250", "452", "250", "250"} {
		c.expect(reply)
	}
	f.greeted().cmd("NOOP", "250") // the notes of that round are handled
	setMemory(4 * size)
	c.expect("354")
}
