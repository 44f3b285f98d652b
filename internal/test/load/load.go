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

// A Load is clients that send mail as fast as they are let, and remember what
// has been acknowledged. Each message has a sender of its own, by which its
// rows are found whatever became of it; none is sent twice.
type Load struct {
	name  string
	addrs []string // servers, among whom the clients are dealt out

	cancel  context.CancelFunc // nil while nobody sends
	clients sync.WaitGroup
	sent    [clients]int // by each client
	acks    atomic.Int64

	mu        sync.Mutex
	tried     map[string]int      // sender: number of recipients
	acked     map[string]string   // sender: hash of the reply
	rows      map[string][]string // sender: hashes that Collect has found
	deferred  map[string]bool     // senders who have received 4xx
	temporary int                 // replies 4xx
	broken    int                 // connections that failed or ended
	refused   map[string]int      // other replies
	last      time.Time           // of an acknowledgement, or of Resume
	silence   time.Duration       // the longest between two of them
}

const (
	clients     = 8
	patience    = 30 * time.Second      // for one reply
	pause       = 10 * time.Millisecond // after what did not work
	collectTime = time.Minute           // to read the rows of a table
)

// domain is where all senders are; mail from elsewhere is somebody else's.
const domain = "load.example"

// Start sends until Pause.
func Start(addrs ...string) *Load {
	l := &Load{name: rand.Text()[:8], addrs: addrs, tried: make(map[string]int), acked: make(map[string]string),
		rows: make(map[string][]string), refused: make(map[string]int), deferred: make(map[string]bool)}
	l.Resume()
	return l
}

// Resume sends again after Pause.
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
				select { // nobody listens between two lives
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
}

// Pause waits until every client has ended its message.
func (l *Load) Pause() {
	if l.cancel == nil {
		return
	}
	l.cancel()
	l.clients.Wait()
	l.cancel = nil
}

var errNotTaken = errors.New("not taken")

// session sends on one connection until something does not work or ctx is done.
func (l *Load) session(ctx context.Context, worker int) error {
	c, err := client.Connect(l.addrs[worker%len(l.addrs)], patience)
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
	if err != nil && !errors.Is(err, errNotTaken) {
		l.mu.Lock()
		l.broken++
		l.mu.Unlock()
	}
	return err
}

// message sends one, to one to three recipients; some are of 32 KB.
func (l *Load) message(c *client.Client, worker int) error {
	size := 0
	if (l.sent[worker]+1)%20 == 0 {
		size = 32_000
	}
	code, err := l.send(c, worker, size)
	if err == nil && code/100 != 2 {
		err = errNotTaken
	}
	return err
}

// Send sends one message, with size bytes of text in addition, on a connection
// of its own, and returns the code of the reply. Clients must not send at the
// same time.
func (l *Load) Send(size int) (code int, err error) {
	c, err := client.Connect(l.addrs[0], patience)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.Hello(); err != nil {
		return 0, err
	}
	return l.send(c, 0, size)
}

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
		l.silence = max(l.silence, time.Since(l.last))
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

// Acks returns how many messages have been acknowledged.
func (l *Load) Acks() int64 { return l.acks.Load() }

// AwaitAcks waits for n more acknowledged messages.
func (l *Load) AwaitAcks(t test.T, n int64) {
	t.Helper()
	want := l.Acks() + n
	test.Await(t, nil, 2*time.Minute, "mail is taken", func() error {
		if got := l.Acks(); got < want {
			return fmt.Errorf("%d messages acknowledged, want %d", got, want)
		}
		return nil
	})
}

// AwaitRefusal waits until one more message is not taken, for whatever reason.
func (l *Load) AwaitRefusal(t test.T) {
	t.Helper()
	failures := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.temporary + l.broken
	}
	before := failures()
	test.Await(t, nil, time.Minute, "all mail is taken", func() error {
		if failures() == before {
			return errors.New("nothing is refused")
		}
		return nil
	})
}

// Silence returns the longest time without an acknowledgement, this moment
// included, since it was asked last.
func (l *Load) Silence() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	silence := max(l.silence, time.Since(l.last))
	l.silence = 0
	return silence
}
