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

// loadClients is the number of concurrent clients.
const loadClients = 6

// A load runs clients that continuously send messages, each on a new connection, and counts
// the outcomes.
type load struct {
	box     *box.Box
	quit    chan struct{}
	clients sync.WaitGroup

	mu           sync.Mutex
	acknowledged []string      // hashes
	refused      int           // connections that were refused
	reset        int           // connections that were closed without a reply
	temporary    int           // replies 421 and 451
	unexpected   []string      // other replies and errors
	longest      time.Duration // of one message
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
					if !l.send() {
						time.Sleep(50 * time.Millisecond) // before the retry
					}
				}
			}
		})
	}
	return l
}

// send sends one message and reports whether it was acknowledged.
func (l *load) send() bool {
	began := time.Now()
	reply, err := sendMessage(l.box, "127.0.0.1:25", "load@example.com")
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.longest = max(l.longest, took)
	switch {
	case err == nil && reply.Code == 250:
		l.acknowledged = append(l.acknowledged, reply.Hash())
	case err == nil && (reply.Code == 421 || reply.Code == 451):
		l.temporary++
	case errors.Is(err, syscall.ECONNREFUSED):
		l.refused++
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		l.reset++
	default:
		l.unexpected = append(l.unexpected, fmt.Sprint(reply, err))
	}
	return err == nil && reply.Code == 250
}

// awaitAcks waits until n more messages are acknowledged.
func (l *load) awaitAcks(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.acknowledged)
	}
	want := count() + n
	test.Await(t, nil, time.Minute, "waiting for acknowledged messages", func() error {
		if n := count(); n < want {
			return fmt.Errorf("%d acknowledged, want %d", n, want)
		}
		return nil
	})
}

// stop ends the load and checks that every acknowledged message is stored.
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
	t.Logf("%d acknowledged, %d lost, %d replies 421 or 451, %d connections refused, %d reset, slowest message %v",
		len(l.acknowledged), lost, l.temporary, l.refused, l.reset, l.longest.Round(time.Millisecond))
	if lost > 0 || len(l.unexpected) > 0 {
		t.Errorf("%d acknowledged messages lost, unexpected outcomes %q", lost, l.unexpected)
	}
}

// sendMessage sends one message on a new connection and returns the last reply: 250, or the
// first refusal.
func sendMessage(box *box.Box, addr, to string) (client.Reply, error) {
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
