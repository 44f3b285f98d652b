package debian

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/box"
	"goguerrillad/internal/test/client"
)

// loadClients is how many clients send at a time.
const loadClients = 6

// A load is clients that send without a break, each mail on a connection of
// its own, and count what befalls them.
type load struct {
	box     *box.Box
	quit    chan struct{}
	clients sync.WaitGroup

	mu           sync.Mutex
	acknowledged []string // hashes
	refused      int      // connections
	reset        int      // connections that ended without a word
	later        int      // 421 and 451
	other        []string // what should not be
	longest      time.Duration
}

func startLoad(box *box.Box) *load {
	l := &load{box: box, quit: make(chan struct{})}
	for range loadClients {
		l.clients.Go(func() {
			for {
				select {
				case <-l.quit:
					return
				default:
					if !l.mail() {
						time.Sleep(50 * time.Millisecond) // a sender would wait much longer
					}
				}
			}
		})
	}
	return l
}

// mail sends one mail and reports whether it was acknowledged.
func (l *load) mail() bool {
	begun := time.Now()
	reply, err := sendMail(l.box, "127.0.0.1:25", "load@example.com")
	took := time.Since(begun)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.longest = max(l.longest, took)
	switch {
	case err == nil && reply.Code == 250:
		l.acknowledged = append(l.acknowledged, reply.Hash())
	case err == nil && (reply.Code == 421 || reply.Code == 451):
		l.later++
	case errors.Is(err, syscall.ECONNREFUSED):
		l.refused++
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		l.reset++
	default:
		l.other = append(l.other, fmt.Sprint(reply, err))
	}
	return err == nil && reply.Code == 250
}

// progress waits until so many more mails are acknowledged.
func (l *load) progress(t *testing.T, more int) {
	t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.acknowledged)
	}
	want := count() + more
	test.Await(t, nil, time.Minute, "no mail gets through", func() error {
		if n := count(); n < want {
			return fmt.Errorf("%d acknowledged, want %d", n, want)
		}
		return nil
	})
}

// stop ends the load and wants every acknowledged mail in the table, once.
func (l *load) stop(t *testing.T) {
	t.Helper()
	close(l.quit)
	l.clients.Wait()
	stored := map[string]int{}
	for line := range strings.Lines(l.box.Run(t, program+" -list 1000000")) {
		hash, _, _ := strings.Cut(line, "\t")
		stored[hash]++
	}
	lost := 0
	for _, hash := range l.acknowledged {
		if stored[hash] == 0 {
			lost++
		}
	}
	t.Logf("acknowledged %d, lost %d, later %d, refused connections %d, reset %d, longest mail %v",
		len(l.acknowledged), lost, l.later, l.refused, l.reset, l.longest.Round(time.Millisecond))
	if lost > 0 || len(l.other) > 0 {
		t.Errorf("%d lost, and %q", lost, l.other)
	}
}

// sendMail sends one mail on a connection of its own and returns the last
// reply: 250, or what stood in the way.
func sendMail(box *box.Box, addr, to string) (client.Reply, error) {
	c, err := box.Connect(addr, 30*time.Second)
	if err != nil {
		return client.Reply{}, err
	}
	defer c.Close()
	if c.Greeting.Code != 220 {
		return c.Greeting, nil
	}
	if r, err := c.Cmd("EHLO client.test"); err != nil || r.Code != 250 {
		return r, err
	}
	return c.Send("sender@example.org", "", []string{to}, []byte("Subject: hello\r\n\r\ntext\r\n"))
}
