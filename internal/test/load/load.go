// Package load sends messages from several clients and checks that every
// acknowledged message is stored exactly once.
package load

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"goguerrillad/internal/test"
	"goguerrillad/internal/test/client"
)

// A Load is a group of clients that send messages as fast as possible and record the
// acknowledgements. Each message has its own sender address, which identifies its rows;
// no message is sent twice.
type Load struct {
	name  string
	addrs []string // servers; the clients are distributed over them

	cancel  context.CancelFunc // nil while no client sends
	clients sync.WaitGroup
	sent    [clients]int // by each client
	acks    atomic.Int64

	mu        sync.Mutex
	tried     map[string]int      // sender: number of recipients
	acked     map[string]string   // sender: hash of the reply
	rows      map[string][]string // sender: hashes that Collect has found
	deferred  map[string]bool     // sender: a reply was 4xx
	temporary int                 // replies 4xx
	broken    int                 // connections that failed or ended
	refused   map[string]int      // other replies, by text
	last      time.Time           // of an acknowledgement, or of Resume
	gap       time.Duration       // longest time between two acknowledgements
}

const (
	clients     = 8
	replyTime   = 30 * time.Second      // timeout of one reply
	pause       = 10 * time.Millisecond // after a failure
	collectTime = time.Minute           // timeout of Collect
)

// domain is the domain of all sender addresses of a Load, and of no other message.
const domain = "load.example"

// Start starts clients that send to the servers at addrs until Pause.
func Start(addrs ...string) *Load {
	l := &Load{name: rand.Text()[:8], addrs: addrs, tried: make(map[string]int), acked: make(map[string]string),
		rows: make(map[string][]string), refused: make(map[string]int), deferred: make(map[string]bool)}
	l.Resume()
	return l
}

// Resume starts the clients again after Pause.
func (l *Load) Resume() {
	ctx, cancel := context.WithCancel(context.Background())
	l.mu.Lock()
	l.last = time.Now()
	l.mu.Unlock()
	l.cancel = cancel
	for i := range clients {
		l.clients.Go(func() {
			for ctx.Err() == nil {
				if err := l.session(ctx, i); err == nil {
					continue
				}
				select { // the daemon may be restarting
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
}

// Pause stops sending and waits until every client has finished its message.
func (l *Load) Pause() {
	if l.cancel == nil {
		return
	}
	l.cancel()
	l.clients.Wait()
	l.cancel = nil
}

var errNotAcknowledged = errors.New("message not acknowledged")

// session sends on one connection until a failure or until ctx is done.
func (l *Load) session(ctx context.Context, worker int) error {
	c, err := client.Connect(l.addrs[worker%len(l.addrs)], replyTime)
	if err == nil {
		defer c.Close()
		err = c.Hello()
	}
	for err == nil && ctx.Err() == nil {
		err = l.message(c, worker)
	}
	if err == nil {
		_, err = c.Expect(221, "QUIT")
	}
	if err != nil && !errors.Is(err, errNotAcknowledged) {
		l.mu.Lock()
		l.broken++
		l.mu.Unlock()
	}
	return err
}

// message sends one message; every 20th message of a client has 32 KB.
func (l *Load) message(c *client.Client, worker int) error {
	size := 0
	if (l.sent[worker]+1)%20 == 0 {
		size = 32_000
	}
	code, err := l.send(c, worker, size)
	if err == nil && code/100 != 2 {
		err = errNotAcknowledged
	}
	return err
}

// Send sends one message with size additional bytes on its own connection, and returns
// the code of the reply. The load must be paused.
func (l *Load) Send(size int) (code int, err error) {
	c, err := client.Connect(l.addrs[0], replyTime)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.Hello(); err != nil {
		return 0, err
	}
	return l.send(c, 0, size)
}

// send sends one message to one to three recipients.
func (l *Load) send(c *client.Client, worker, size int) (code int, err error) {
	l.sent[worker]++
	n := l.sent[worker]
	from := fmt.Sprintf("%s-%d-%d@%s", l.name, worker, n, domain)
	to := []string{"one@example.com", "two@example.com", "three@example.com"}[:1+n%3]
	text := []byte("Subject: " + from + "\r\n\r\n" + from + "\r\n")
	text = append(text, bytes.Repeat([]byte("0123456789abcdef0123456789abcd\r\n"), size/32)...)
	l.mu.Lock()
	l.tried[from] = len(to)
	l.mu.Unlock()
	r, err := c.Send(from, "", to, text)
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch r.Code / 100 {
	case 2:
		l.acked[from] = r.Hash()
		l.gap = max(l.gap, time.Since(l.last))
		l.last = time.Now()
		l.acks.Add(1)
	case 4:
		l.temporary++
		l.deferred[from] = true
	default:
		l.refused[r.String()]++
	}
	return r.Code, nil
}

// Acks returns the number of acknowledged messages.
func (l *Load) Acks() int64 { return l.acks.Load() }

// AwaitAcks waits for n more acknowledged messages.
func (l *Load) AwaitAcks(t test.T, n int64) {
	t.Helper()
	want := l.Acks() + n
	test.Await(t, nil, 2*time.Minute, "wait for acknowledged messages", func() error {
		if got := l.Acks(); got < want {
			return fmt.Errorf("%d messages acknowledged, want %d", got, want)
		}
		return nil
	})
}

// AwaitRefusal waits until one more message is not acknowledged, for any reason.
func (l *Load) AwaitRefusal(t test.T) {
	t.Helper()
	failures := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.temporary + l.broken
	}
	before := failures()
	test.Await(t, nil, time.Minute, "wait for a message that is not acknowledged", func() error {
		if failures() == before {
			return errors.New("every message was acknowledged")
		}
		return nil
	})
}

// LongestGap returns the longest time between two acknowledgements since the last call of
// LongestGap. The time since the last acknowledgement counts.
func (l *Load) LongestGap() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	gap := max(l.gap, time.Since(l.last))
	l.gap = 0
	return gap
}
