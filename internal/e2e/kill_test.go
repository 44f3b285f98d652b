package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"goguerrillad/internal/testserver"
)

// A load is clients that send mail as fast as they are let, and remember what
// has been acknowledged. Each message has a sender of its own, by which its
// rows are found whatever became of it.
type load struct {
	addr string
	acks atomic.Int64

	mu     sync.Mutex
	tried  map[string]int    // sender: number of recipients
	acked  map[string]string // sender: hash of the reply
	refuse map[string]int    // replies that are neither 250 nor temporary
}

const loadClients = 8

// startLoad runs until stop is called, which waits for all clients.
func startLoad(addr string) (l *load, stop func()) {
	l = &load{addr: addr, tried: make(map[string]int), acked: make(map[string]string), refuse: make(map[string]int)}
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for i := range loadClients {
		clients.Go(func() {
			for n := 0; ctx.Err() == nil; {
				if err := l.session(ctx, fmt.Sprintf("c%d", i), &n); err != nil {
					select { // nobody listens between two lives
					case <-ctx.Done():
					case <-time.After(10 * time.Millisecond):
					}
				}
			}
		})
	}
	return l, func() { cancel(); clients.Wait() }
}

// session sends on one connection until it breaks or ctx is done.
func (l *load) session(ctx context.Context, name string, n *int) error {
	c, err := testserver.Connect(l.addr, 30*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Hello(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		*n++
		from := fmt.Sprintf("%s-%d@load.example", name, *n)
		to := []string{"one@example.com", "two@example.com", "three@example.com"}[:1+*n%3]
		l.mu.Lock()
		l.tried[from] = len(to)
		l.mu.Unlock()
		r, err := c.Send(from, "", to, []byte("Subject: "+from+"\r\n\r\n"+from+"\r\n"))
		if err != nil {
			return err
		}
		switch {
		case r.Code == 250:
			l.mu.Lock()
			l.acked[from] = r.Hash()
			l.mu.Unlock()
			l.acks.Add(1)
		case r.Code/100 == 4:
			return errors.New(r.Text)
		default:
			l.mu.Lock()
			l.refuse[r.String()]++
			l.mu.Unlock()
			return errors.New(r.Text)
		}
	}
	_, err = c.Expect(221, "QUIT")
	return err
}

// awaitAcks waits for n more acknowledged messages.
func (l *load) awaitAcks(t *testing.T, n int64) {
	t.Helper()
	want := l.acks.Load() + n
	testserver.Await(t, nil, time.Minute, "mail is taken", func() error {
		if got := l.acks.Load(); got < want {
			return fmt.Errorf("%d messages acknowledged, want %d", got, want)
		}
		return nil
	})
}

// check compares the rows with what the clients know: every acknowledged
// message is there, once for each recipient, and of the others all rows or
// none.
func (l *load) check(t *testing.T, tb *table) {
	t.Helper()
	hashes := tb.hashes(t)
	lost, doubled, partial, strange := 0, 0, 0, 0
	seen := make(map[string]bool)
	for from, rows := range hashes {
		want, known := l.tried[from]
		if !known {
			strange++
		}
		switch {
		case len(rows) > want:
			doubled++
		case len(rows) < want:
			partial++
		}
		for _, h := range rows {
			if seen[h] {
				doubled++
			}
			seen[h] = true
		}
	}
	for from, hash := range l.acked {
		if len(hashes[from]) < l.tried[from] || !seen[hash] {
			lost++
		}
	}
	t.Logf("%d messages tried, %d acknowledged, %d in the table", len(l.tried), len(l.acked), len(hashes))
	if lost+doubled+partial+strange > 0 {
		t.Errorf("%d acknowledged and lost, %d doubled, %d stored in part, %d from nowhere", lost, doubled, partial, strange)
	}
	for reply, n := range l.refuse {
		t.Errorf("%d times the reply %s", n, reply)
	}
}

// TestKill9 kills the daemon under load, again and again.
func TestKill9(t *testing.T) {
	for _, store := range []string{"sqlite", "mysql"} {
		t.Run(store, func(t *testing.T) {
			d, table := startDaemon(t, store, nil)
			l, stop := startLoad(d.Addr)
			defer stop()
			for range 10 {
				l.awaitAcks(t, 50)
				time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond) // anywhere in a batch
				d.Kill()
				d.Start(t)
			}
			l.awaitAcks(t, 50)
			stop()
			if code := d.Terminate(t); code != 0 {
				t.Errorf("exit status %d", code)
			}
			l.check(t, table)
		})
	}
}
