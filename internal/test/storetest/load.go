package storetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/commit"
	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/test"
)

// loadClients is the number of concurrent clients.
const loadClients = 8

// LoadTimeout is the timeout of one message.
const LoadTimeout = 9 * time.Second

// Repetitions returns long if FAULTS=long is set, else usual.
func Repetitions(usual, long int) int {
	if os.Getenv("FAULTS") == "long" {
		return long
	}
	return usual
}

// A Load consists of clients that send messages continuously and record their
// outcomes.
type Load struct {
	// Supervise restarts a server that has ended, as a service manager does; it may be nil.
	Supervise func()

	committer *commit.Committer
	clients   sync.WaitGroup
	done      <-chan struct{} // closed by quit and at the end of the test
	quit      func()
	gap       time.Duration // longest time between two acknowledgements

	mu           sync.Mutex
	last         time.Time
	acknowledged map[*envelope.Envelope]bool
	failed       map[*envelope.Envelope]error
}

// large makes a message take several milliseconds in the server.
var large = strings.Repeat("0123456789abcdef0123456789abcdef\r\n", 30_000)

// StartLoad starts the clients, which also end when the test fails.
func StartLoad(t *testing.T, s savemail.Store, log *slog.Logger) *Load {
	ctx, quit := context.WithCancel(t.Context())
	l := &Load{
		committer:    commit.New(s, commit.Options{Writers: 2, Timeout: LoadTimeout, Log: log}),
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
func (l *Load) client(number int) {
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
		e := Envelope(message, to...)
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

// AwaitProgress waits until n additional messages are acknowledged.
func (l *Load) AwaitProgress(t *testing.T, n int) {
	t.Helper()
	acknowledged := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.acknowledged)
	}
	want := acknowledged() + n
	// After a full disk, MySQL tries to write again once a minute.
	test.Await(t, nil, 2*time.Minute, "no progress", func() error {
		if l.Supervise != nil {
			l.Supervise()
		}
		if got := acknowledged(); got < want {
			return fmt.Errorf("%d messages acknowledged, want %d", got, want)
		}
		return nil
	})
}

// AwaitFailure waits until an additional message fails.
func (l *Load) AwaitFailure(t *testing.T) {
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

// Stop ends the clients and drains the committer.
func (l *Load) Stop(t *testing.T) {
	t.Helper()
	l.quit()
	l.clients.Wait()
	if err := l.committer.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

// Verify compares the outcomes with the rows of all tables, and returns the
// number of failed messages that are stored.
func (l *Load) Verify(t *testing.T, tables ...[]Row) (storedFailures int) {
	t.Helper()
	rows := map[string]int{}
	for _, row := range slices.Concat(tables...) {
		rows[row.Hash]++
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
