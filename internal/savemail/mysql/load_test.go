package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/storetest"
)

// loadClients is the number of concurrent clients.
const loadClients = 8

// loadTimeout is the timeout of one message.
const loadTimeout = 9 * time.Second

// repetitions returns long if FAULTS=long is set, else usual.
func repetitions(usual, long int) int {
	if os.Getenv("FAULTS") == "long" {
		return long
	}
	return usual
}

// A load consists of clients that send messages continuously and record their
// outcomes.
type load struct {
	committer *commit.Committer
	clients   sync.WaitGroup
	done      <-chan struct{} // closed by quit and at the end of the test
	quit      func()
	supervise func()        // restarts a server that has ended, as a service manager does; may be nil
	gap       time.Duration // longest time between two acknowledgements

	mu           sync.Mutex
	last         time.Time
	acknowledged map[*envelope.Envelope]bool
	failed       map[*envelope.Envelope]error
}

// large makes a message take several milliseconds in the server.
var large = strings.Repeat("0123456789abcdef0123456789abcdef\r\n", 30_000)

// startLoad starts the clients, which also end when the test fails.
func startLoad(t *testing.T, s savemail.Store, b *testbed) *load {
	ctx, quit := context.WithCancel(t.Context())
	l := &load{
		committer:    commit.New(s, commit.Options{Writers: 2, Timeout: loadTimeout, Log: b.options().Log}),
		done:         ctx.Done(),
		quit:         quit,
		last:         time.Now(),
		acknowledged: map[*envelope.Envelope]bool{},
		failed:       map[*envelope.Envelope]error{},
	}
	for client := range loadClients {
		l.clients.Go(func() { l.client(client) })
	}
	t.Cleanup(l.clients.Wait)
	return l
}

// client sends messages: 60% small, 30% with the text large, and 10% to 60
// recipients, for which the store needs a transaction of several statements.
func (l *load) client(number int) {
	for n := 0; ; n++ {
		select {
		case <-l.done:
			return
		default:
		}
		to, message := make([]string, 1), text
		switch rand.IntN(10) {
		case 0:
			to = make([]string, 60)
		case 1, 2, 3:
			message += large
		}
		for i := range to {
			to[i] = fmt.Sprintf("u%d.%d.%d@example.com", number, n, i)
		}
		e := storetest.Envelope(message, to...)
		outcome := make(chan error, 1)
		l.committer.Submit(e, func(err error) { outcome <- err })
		err := <-outcome
		l.mu.Lock()
		if err == nil {
			l.acknowledged[e] = true
			l.gap = max(l.gap, time.Since(l.last))
			l.last = time.Now()
		} else {
			l.failed[e] = err
		}
		l.mu.Unlock()
		if err != nil {
			time.Sleep(20 * time.Millisecond) // a client's pause after 451
		}
	}
}

// awaitProgress waits until n additional messages are acknowledged.
func (l *load) awaitProgress(t *testing.T, n int) {
	t.Helper()
	acknowledged := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.acknowledged)
	}
	want := acknowledged() + n
	// After a full disk, MySQL tries to write again once a minute.
	test.Await(t, nil, 2*time.Minute, "no progress", func() error {
		if l.supervise != nil {
			l.supervise()
		}
		if got := acknowledged(); got < want {
			return fmt.Errorf("%d messages acknowledged, want %d", got, want)
		}
		return nil
	})
}

// awaitFailure waits until an additional message fails.
func (l *load) awaitFailure(t *testing.T) {
	t.Helper()
	failed := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.failed)
	}
	before := failed()
	test.Await(t, nil, time.Minute, "no failure", func() error {
		if failed() == before {
			return errors.New("all messages were acknowledged")
		}
		return nil
	})
}

func (l *load) stop(t *testing.T) {
	t.Helper()
	l.quit()
	l.clients.Wait()
	if err := l.committer.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

// verify compares the outcomes with the rows of all tables, and returns the
// number of failed messages that are stored.
func (l *load) verify(t *testing.T, tables ...*testbed) (storedFailures int) {
	t.Helper()
	rows := map[string]int{}
	for _, b := range tables {
		for _, row := range b.rows(t) {
			rows[row.Hash]++
		}
	}
	count := func(e *envelope.Envelope) (n int) {
		for _, to := range e.To {
			if rows[to.Hash] > 1 {
				t.Errorf("%s: %d rows, want at most 1", to.Hash, rows[to.Hash])
			}
			n += min(rows[to.Hash], 1)
		}
		if n != 0 && n != len(e.To) {
			t.Errorf("%s: %d rows, want 0 or %d", e.To[0].Hash, n, len(e.To))
		}
		return n
	}
	for e := range l.acknowledged {
		if count(e) == 0 {
			t.Errorf("%s: acknowledged but not stored", e.To[0].Hash)
		}
	}
	kinds := map[error]int{}
	for e, err := range l.failed {
		for _, kind := range []error{savemail.ErrUnknown, savemail.ErrUnavailable, savemail.ErrRejected} {
			if errors.Is(err, kind) {
				kinds[kind]++
				break
			}
		}
		if count(e) > 0 {
			storedFailures++
			if !errors.Is(err, savemail.ErrUnknown) {
				t.Errorf("%s: stored, but the outcome is %v, want %v", e.To[0].Hash, err, savemail.ErrUnknown)
			}
		}
	}
	t.Logf("%d messages acknowledged, %d failed (%v), %d of these stored, longest gap %v",
		len(l.acknowledged), len(l.failed), kinds, storedFailures, l.gap.Round(time.Millisecond))
	return storedFailures
}
