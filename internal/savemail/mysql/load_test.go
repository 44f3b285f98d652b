package mysql_test

import (
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

// loadClients is how many mails are under way at a time.
const loadClients = 8

// loadTimeout is what a mail may take.
const loadTimeout = 9 * time.Second

// times is how often something is done: usually, and in the long form of the
// tests, which FAULTS=long asks for.
func times(usual, long int) int {
	if os.Getenv("FAULTS") == "long" {
		return long
	}
	return usual
}

// A load is clients that send without a break, and remember what they heard.
type load struct {
	committer *commit.Committer
	clients   sync.WaitGroup
	quit      chan struct{}
	gap       time.Duration // the longest time between two acknowledgements

	mu           sync.Mutex
	last         time.Time
	acknowledged map[*envelope.Envelope]bool
	refused      map[*envelope.Envelope]error
}

// large is what makes a mail take the server some milliseconds.
var large = strings.Repeat("0123456789abcdef0123456789abcdef\r\n", 30_000)

func startLoad(s savemail.Store, b *bench) *load {
	l := &load{
		committer:    commit.New(s, commit.Options{Writers: 2, Timeout: loadTimeout, Log: b.options().Log}),
		quit:         make(chan struct{}),
		last:         time.Now(),
		acknowledged: map[*envelope.Envelope]bool{},
		refused:      map[*envelope.Envelope]error{},
	}
	for client := range loadClients {
		l.clients.Go(func() { l.client(client) })
	}
	return l
}

// client sends mails for one recipient, some of them so large that the server
// is at work on them for a while, and now and then for as many recipients as
// need several statements, and so a transaction.
func (l *load) client(number int) {
	for n := 0; ; n++ {
		select {
		case <-l.quit:
			return
		default:
		}
		to, mail := make([]string, 1), text
		switch rand.IntN(10) {
		case 0:
			to = make([]string, 60)
		case 1, 2, 3:
			mail += large
		}
		for i := range to {
			to[i] = fmt.Sprintf("u%d.%d.%d@example.com", number, n, i)
		}
		e := storetest.Envelope(mail, to...)
		outcome := make(chan error, 1)
		l.committer.Submit(e, func(err error) { outcome <- err })
		err := <-outcome
		l.mu.Lock()
		if err == nil {
			l.acknowledged[e] = true
			l.gap = max(l.gap, time.Since(l.last))
			l.last = time.Now()
		} else {
			l.refused[e] = err
		}
		l.mu.Unlock()
		if err != nil {
			time.Sleep(20 * time.Millisecond) // as a client that is told to come later
		}
	}
}

// progress waits until so many more mails are acknowledged.
func (l *load) progress(t *testing.T, more int) {
	t.Helper()
	acknowledged := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.acknowledged)
	}
	want := acknowledged() + more
	test.Await(t, nil, time.Minute, "no progress", func() error {
		if n := acknowledged(); n < want {
			return fmt.Errorf("%d acknowledged, want %d", n, want)
		}
		return nil
	})
}

// refusal waits until one more mail is refused.
func (l *load) refusal(t *testing.T) {
	t.Helper()
	refused := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.refused)
	}
	before := refused()
	test.Await(t, nil, time.Minute, "no refusal", func() error {
		if refused() == before {
			return errors.New("all mail is taken")
		}
		return nil
	})
}

func (l *load) stop(t *testing.T) {
	t.Helper()
	close(l.quit)
	l.clients.Wait()
	if err := l.committer.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

// check compares what was heard with what is in the tables together, and
// returns how many of those that were refused are stored.
func (l *load) check(t *testing.T, tables ...*bench) (storedThough int) {
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
				t.Errorf("%s is there %d times", to.Hash, rows[to.Hash])
			}
			n += min(rows[to.Hash], 1)
		}
		if n != 0 && n != len(e.To) {
			t.Errorf("%s: %d of %d rows are there", e.To[0].Hash, n, len(e.To))
		}
		return n
	}
	for e := range l.acknowledged {
		if count(e) == 0 {
			t.Errorf("%s was acknowledged and is lost", e.To[0].Hash)
		}
	}
	kinds := map[error]int{}
	for e, err := range l.refused {
		for _, kind := range []error{savemail.ErrUnknown, savemail.ErrUnavailable, savemail.ErrRejected} {
			if errors.Is(err, kind) {
				kinds[kind]++
				break
			}
		}
		if count(e) > 0 {
			storedThough++
			if !errors.Is(err, savemail.ErrUnknown) {
				t.Errorf("%s is there, though it was said: %v", e.To[0].Hash, err)
			}
		}
	}
	t.Logf("acknowledged %d, refused %d (%v), of which stored %d, longest silence %v",
		len(l.acknowledged), len(l.refused), kinds, storedThough, l.gap.Round(time.Millisecond))
	return storedThough
}
